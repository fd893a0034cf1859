// goflow beside flow: runs its parts as often as it is told, and says how long that took.
//
// A line in is a contender and a count, a line out nanoseconds. It is built inside goflow's own
// module, of which nothing is copied; see benches/src/goflow.rs.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/vnykmshr/goflow/pkg/ratelimit/bucket"
	"github.com/vnykmshr/goflow/pkg/ratelimit/concurrency"
	"github.com/vnykmshr/goflow/pkg/ratelimit/leakybucket"
	"github.com/vnykmshr/goflow/pkg/scheduling/scheduler"
	"github.com/vnykmshr/goflow/pkg/scheduling/workerpool"
	"github.com/vnykmshr/goflow/pkg/streaming/channel"
)

const (
	// More per second than anybody takes.
	plenty  = 1_000_000_000
	permits = 64
	// Tasks that are submitted before they are awaited, and slots that run them, as there are cores.
	wave    = 1000
	workers = 2
	items   = 1024
)

func main() {
	contenders := map[string]func(int){
		"allow":          allow(1),
		"allow, 2":       allow(2),
		"denied":         denied(),
		"bucket wait":    bucketWait(),
		"leaky":          leaky(),
		"acquire":        acquire(),
		"wait":           wait(),
		"pool, 2":        pool(workers),
		"pool, 64":       pool(64),
		"schedule":       schedule(),
		"cron":           cron(),
		"drop oldest":    dropOldest(1),
		"drop oldest, 2": dropOldest(2),
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var n int
		name := lines.Text()
		if !lines.Scan() {
			return
		}
		if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
			fail(err)
		}
		run, found := contenders[name]
		if !found {
			fail(fmt.Errorf("there is no contender %q", name))
		}
		start := time.Now()
		run(n)
		fmt.Println(time.Since(start).Nanoseconds())
	}
}

func allow(threads int) func(int) {
	limiter, err := bucket.NewSafe(plenty, plenty)
	check(err)
	take := func(n int) {
		for range n {
			if !limiter.Allow() {
				panic("there is plenty")
			}
		}
	}
	if threads == 1 {
		return take
	}
	return func(n int) {
		var taking sync.WaitGroup
		for range threads {
			taking.Go(func() { take(n) })
		}
		taking.Wait()
	}
}

func denied() func(int) {
	limiter, err := bucket.NewSafe(bucket.Every(time.Hour), 1)
	check(err)
	limiter.Allow()
	return func(n int) {
		for range n {
			if limiter.Allow() {
				panic("it is empty")
			}
		}
	}
}

// Needs not wait.
func bucketWait() func(int) {
	limiter, err := bucket.NewSafe(plenty, plenty)
	check(err)
	ctx := context.Background()
	return func(n int) {
		for range n {
			check(limiter.Wait(ctx))
		}
	}
}

func leaky() func(int) {
	limiter, err := leakybucket.NewSafe(plenty, plenty)
	check(err)
	return func(n int) {
		for range n {
			if !limiter.Allow() {
				panic("there is plenty")
			}
		}
	}
}

func acquire() func(int) {
	limiter, err := concurrency.NewSafe(permits)
	check(err)
	return func(n int) {
		for range n {
			if !limiter.Acquire() {
				panic("nobody else has one")
			}
			limiter.Release()
		}
	}
}

// Needs not wait.
func wait() func(int) {
	limiter, err := concurrency.NewSafe(1)
	check(err)
	return func(n int) {
		for range n {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			check(limiter.Wait(ctx))
			limiter.Release()
			cancel()
		}
	}
}

// Empty tasks in waves. Somebody must read the results, or workers wait for that.
func pool(workers int) func(int) {
	pool, err := workerpool.NewSafe(workers, wave)
	check(err)
	go func() {
		for range pool.Results() {
		}
	}()
	return func(waves int) {
		var running sync.WaitGroup
		task := workerpool.TaskFunc(func(context.Context) error {
			running.Done()
			return nil
		})
		for range waves {
			running.Add(wave)
			for range wave {
				check(pool.Submit(task))
			}
			running.Wait()
		}
	}
}

// Tasks due in an hour, with names of their own that are there before.
func schedule() func(int) {
	pool, err := workerpool.NewSafe(workers, wave)
	check(err)
	task := workerpool.TaskFunc(func(context.Context) error { return nil })
	var names []string
	return func(n int) {
		for len(names) < n {
			names = append(names, "job "+strconv.Itoa(len(names)))
		}
		jobs := scheduler.NewWithConfig(scheduler.Config{WorkerPool: pool, MaxTasks: n})
		for _, name := range names[:n] {
			check(jobs.ScheduleAfter(name, task, time.Hour))
		}
	}
}

// Waves of tasks by one pattern, with names that are there before.
func cron() func(int) {
	pool, err := workerpool.NewSafe(workers, wave)
	check(err)
	task := workerpool.TaskFunc(func(context.Context) error { return nil })
	var names []string
	for i := range wave {
		names = append(names, "job "+strconv.Itoa(i))
	}
	return func(waves int) {
		for range waves {
			jobs := scheduler.NewWithConfig(scheduler.Config{WorkerPool: pool, MaxTasks: wave})
			for _, name := range names {
				check(jobs.ScheduleCron(name, "0 30 9 * * MON-FRI", task))
			}
		}
	}
}

// Nobody receives.
func dropOldest(threads int) func(int) {
	full := channel.NewWithConfig[uint64](channel.Config{
		BufferSize: items,
		Strategy:   channel.DropOldest,
	})
	ctx := context.Background()
	return func(n int) {
		var sending sync.WaitGroup
		for range threads {
			sending.Go(func() {
				for i := range n {
					check(full.Send(ctx, uint64(i)))
				}
			})
		}
		sending.Wait()
	}
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
