//! Denials as responses of HTTP.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::{Arc, LazyLock};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::super::sealed::Sealed;
use super::{Answer, Respond};
use crate::circuit_breaker::CallRejected;
use crate::concurrency::PermitError;
use crate::error::Denied;
use crate::fields::{Fields, problem, retry_after_field};
use crate::granted::Granted;

/// The body of a response to a denial is empty: `B::default()`.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

/// The body of a response to a denial is a problem in JSON, by RFC 9457.
#[derive(Clone, Copy, Debug)]
pub struct ProblemJson;

/// What a denial is in HTTP: of [`Denied`], [`PermitError`] and [`CallRejected`].
pub trait Refusal: Sealed {
    /// The status to answer with.
    fn status(&self) -> StatusCode;

    /// When to come back, if that is known.
    fn retry_after(&self) -> Option<Duration>;

    /// Whether the client has used up a quota of its own, as opposed to what the server can bear.
    fn quota_exceeded(&self) -> bool {
        self.status() == StatusCode::TOO_MANY_REQUESTS
    }
}

impl Sealed for Denied {}

impl Refusal for Denied {
    /// 429 for what the client has used up, 400 for a request without a key, 503 for all that is
    /// the server's: full queues and tables, limiters that are closed or cannot be asked.
    fn status(&self) -> StatusCode {
        match self {
            Self::NotYet { .. } | Self::ExceedsBurst { .. } | Self::NeverRefills => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoKey => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Self::retry_after(self)
    }
}

impl Sealed for PermitError {}

impl Refusal for PermitError {
    /// 503: as many are at it as may.
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

impl Sealed for CallRejected {}

impl Refusal for CallRejected {
    /// 503: what is behind does not answer.
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn retry_after(&self) -> Option<Duration> {
        Self::retry_after(self)
    }
}

impl<B> Respond<B> {
    pub(in super::super) const DEFAULT: Self = Self {
        fields: None,
        body: PhantomData,
    };

    pub(in super::super) fn change(&mut self, change: impl FnOnce(Fields) -> Fields) {
        let fields = self.fields.take().map(Arc::unwrap_or_clone);
        self.fields = Some(Arc::new(change(fields.unwrap_or_default())));
    }

    pub(in super::super) fn with_body<T>(self) -> Respond<T> {
        Respond {
            fields: self.fields,
            body: PhantomData,
        }
    }

    fn fields(&self) -> &Fields {
        self.fields.as_deref().unwrap_or(&DEFAULT)
    }

    fn add_denied<D: Refusal>(&self, why: &D, headers: &mut HeaderMap) {
        if why.quota_exceeded() {
            self.fields().add_denied(why.retry_after(), headers);
        } else if let Some(value) = why.retry_after().and_then(retry_after_field) {
            headers.insert(http::header::RETRY_AFTER, value);
        }
    }
}

static DEFAULT: LazyLock<Fields> = LazyLock::new(Fields::default);

impl<B> Sealed for Respond<B> {}

impl<RB: Default, E, D: Refusal> Answer<Response<RB>, E, D> for Respond<NoBody> {
    type Error = E;

    fn denied(&self, why: D) -> Result<Response<RB>, E> {
        let mut response = Response::new(RB::default());
        *response.status_mut() = why.status();
        self.add_denied(&why, response.headers_mut());
        Ok(response)
    }

    fn inner(error: E) -> E {
        error
    }

    fn granted(&self, granted: &Granted, response: &mut Response<RB>) {
        self.fields().add_granted(granted, response.headers_mut());
    }
}

impl<RB: From<String>, E, D: Refusal> Answer<Response<RB>, E, D> for Respond<ProblemJson> {
    type Error = E;

    fn denied(&self, why: D) -> Result<Response<RB>, E> {
        let status = why.status();
        let violated = if why.quota_exceeded() {
            self.fields().violated()
        } else {
            Vec::new()
        };
        let text = problem::json(status, &violated);
        let mut response = Response::new(RB::from(text));
        *response.status_mut() = status;
        let media_type = HeaderValue::from_static(problem::MEDIA_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        self.add_denied(&why, response.headers_mut());
        Ok(response)
    }

    fn inner(error: E) -> E {
        error
    }

    fn granted(&self, granted: &Granted, response: &mut Response<RB>) {
        self.fields().add_granted(granted, response.headers_mut());
    }
}

impl<B> Clone for Respond<B> {
    fn clone(&self) -> Self {
        Self {
            fields: self.fields.clone(),
            body: PhantomData,
        }
    }
}

impl<B> fmt::Debug for Respond<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond")
            .field("fields", self.fields())
            .finish_non_exhaustive()
    }
}
