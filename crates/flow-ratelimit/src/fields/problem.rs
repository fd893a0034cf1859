//! Problems in JSON, by RFC 9457, with the types of the draft.

use http::StatusCode;

use super::named::quoted;

pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// The body of an answer to a request that was not let through, and the names of the policies that
/// it is due to, if it is to any.
pub(crate) fn json(status: StatusCode, policies: &[&str]) -> String {
    let code = status.as_u16();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            // Names are printable ASCII, of which JSON escapes what RFC 9651 does.
            let policies: Vec<_> = policies.iter().map(|name| quoted(name)).collect();
            let policies = policies.join(",");
            format!(
                "{{\"type\":\"{TYPES}#quota-exceeded\",\"title\":\"Request cannot be satisfied as \
                 assigned quota has been exceeded\",\"status\":{code},\
                 \"violated-policies\":[{policies}]}}"
            )
        }
        StatusCode::SERVICE_UNAVAILABLE => format!(
            "{{\"type\":\"{TYPES}#temporary-reduced-capacity\",\"title\":\"Request cannot be \
             satisfied due to temporary server capacity constraints\",\"status\":{code}}}"
        ),
        _ => {
            let title = status.canonical_reason().unwrap_or_default();
            format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{code}}}")
        }
    }
}

const TYPES: &str = "https://iana.org/assignments/http-problem-types";
