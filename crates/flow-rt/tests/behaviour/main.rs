//! What is built on the contract once, on every runtime: join handles, groups, time-outs,
//! intervals, contexts, retries.
//!
//! Each case is written once, for a `Handle`; on real runtimes it asserts lower bounds only.
#![cfg(all(
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "sim",
    not(loom)
))]

mod by_hand;
mod context;
mod group;
mod hosts;
mod interval;
mod join;
mod retry;
mod timeout;

macro_rules! on_every_runtime {
    (@on $host:ident { $($file:ident { $($case:ident)+ })+ }) => {
        mod $host {
            $($(
                #[test]
                fn $case() {
                    crate::hosts::$host(crate::$file::$case);
                }
            )+)+
        }
    };
    ($cases:tt) => {
        on_every_runtime!(@on tokio_multi_thread $cases);
        on_every_runtime!(@on tokio_current_thread $cases);
        on_every_runtime!(@on smol $cases);
        on_every_runtime!(@on async_std $cases);
        on_every_runtime!(@on sim $cases);
    };
}

on_every_runtime! {{
    join {
        a_result_comes_back
        a_panic_comes_back_with_its_payload
        an_aborted_future_runs_no_further
        an_abort_after_the_end_changes_nothing
        abort_handles_are_clones_of_one_request
        a_dropped_handle_detaches
        abort_on_drop_aborts_and_detach_takes_it_back
        destructors_that_panic_are_contained
        unread_results_that_panic_when_dropped_are_contained
        a_joined_handle_stays_pending
        a_detached_panic_harms_nobody
        names_and_closures
    }
    group {
        results_come_as_tasks_end
        an_empty_group_is_done
        a_panic_is_one_result_of_many
        abort_all_leaves_the_results_to_join
        shutdown_waits_for_all
        a_dropped_group_aborts
        a_detached_group_runs_on
        a_dropped_join_takes_nothing
        a_group_is_a_stream
    }
    timeout {
        a_ready_future_wins_over_a_limit_of_zero
        a_limit_of_zero_passes_at_once
        a_limit_beyond_the_end_of_time_never_passes
        the_limit_counts_from_the_first_poll
        a_future_that_is_late_is_dropped_with_its_timeout
        sleeps_of_zero_end_and_of_ever_do_not
    }
    context {
        tasks_inherit_the_context_of_their_starter
        a_spawned_closure_is_handed_its_context
        detached_tasks_have_no_context
        blocking_closures_have_their_starters_context
        a_group_inherits
        a_context_is_there_after_each_await
        a_panic_leaves_no_context_behind
        contexts_nest_and_come_back
        a_ready_future_wins_over_a_context_that_has_ended
        a_context_ends_what_it_runs
    }
    retry {
        a_success_is_the_last_run
        every_allowed_run_fails
        a_refused_plan_runs_nothing
        an_error_may_decline_a_retry
        a_hint_lengthens_the_sleep
        the_budget_is_shared
        cancelling_the_task_ends_the_sleep
        the_tasks_deadline_ends_it_at_once
        a_retry_in_a_task_is_send
    }
    interval {
        ticks_are_due_at_multiples_of_the_period
        a_period_of_zero_is_refused
        a_period_of_ever_never_ticks
        a_dropped_tick_is_not_taken
        an_interval_is_a_stream
    }
}}
