//! Who a request is from: what keys of limits are made of.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// The key of a request is the value of a field, such as `x-api-key`.
///
/// None if it is not there, if it is there twice, or longer than 1 KiB. Somebody else should have
/// checked that the value is one of yours: a client that may choose it freely is never limited.
///
/// The keys are of a `KeyedLimiter::<HeaderValue>`.
pub fn by_header<B>(name: HeaderName) -> impl Fn(&Request<B>) -> Option<HeaderValue> + Clone {
    move |request| {
        let mut values = request.headers().get_all(&name).iter();
        let value = values.next().filter(|value| value.len() <= MAX_KEY)?;
        values.next().is_none().then(|| value.clone())
    }
}

/// The proxies in front of a server, by whose word it goes: finds out which client a request is from.
///
/// A client can write whatever it likes into `X-Forwarded-For`; a proxy appends the address that it
/// has the request from. So the field is read from its end: as long as an address is that of a
/// trusted proxy, what that has appended counts, and the first that is not is the client's. The rest
/// is hearsay. Of a peer that is not trusted the field counts for nothing.
///
/// ```
/// # fn main() -> Result<(), flow_ratelimit::fields::ProxyError> {
/// use flow_ratelimit::fields::TrustedProxies;
/// use http::{HeaderMap, HeaderValue};
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "::1"])?;
/// let mut headers = HeaderMap::new();
/// let forged_and_appended = HeaderValue::from_static("198.51.100.7, 203.0.113.9");
/// headers.insert("x-forwarded-for", forged_and_appended);
///
/// let ours = "10.1.2.3".parse().unwrap();
/// let client = proxies.client(ours, &headers).unwrap();
/// assert_eq!(client.to_string(), "203.0.113.9");
/// let strangers = "192.0.2.1".parse().unwrap();
/// assert_eq!(proxies.client(strangers, &headers), Some(strangers));
/// # Ok(())
/// # }
/// ```
///
/// # IPv6
/// A client has more addresses of its own there than a limiter has room for: usually a network of 64
/// bits. So what is returned is its network, unless [`ipv6_prefix`](Self::ipv6_prefix) says
/// otherwise; addresses of IPv4 in IPv6 are returned as what they are.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Box<[Network]>,
    ipv6_prefix: u8,
}

#[derive(Clone, Copy, Debug)]
struct Network {
    address: u128,
    mask: u128,
}

impl TrustedProxies {
    /// These addresses and networks: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`.
    ///
    /// # Errors
    /// [`ProxyError`] if one of them is neither.
    pub fn new<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, ProxyError> {
        let networks: Result<_, _> = networks.into_iter().map(Network::parse).collect();
        Ok(Self {
            networks: networks?,
            ipv6_prefix: 64,
        })
    }

    /// No proxies: the client is the peer.
    pub fn none() -> Self {
        Self {
            networks: Box::new([]),
            ipv6_prefix: 64,
        }
    }

    /// How many bits of an address of IPv6 are one client's; 64 unless this says otherwise.
    ///
    /// # Errors
    /// [`ProxyError::Prefix`] if they are 0 or more than 128.
    pub fn ipv6_prefix(mut self, bits: u8) -> Result<Self, ProxyError> {
        if !(1..=128).contains(&bits) {
            return Err(ProxyError::Prefix { given: bits });
        }
        self.ipv6_prefix = bits;
        Ok(self)
    }

    /// The client of a request that came from `peer`: its address, or its network.
    ///
    /// None if a trusted proxy has appended something that is no address, or there is no end to
    /// proxies: more than 64 of them. As the key of a layer with `WithoutKey::Admit` that would be
    /// a request without a limit: let such a layer fall back on `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if !self.trust(client) {
            return Some(self.network(client));
        }
        let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for _ in 0..MAX_HOPS {
            let Some(hop) = hops.next() else {
                // All are ours: a request of our own.
                return Some(self.network(client));
            };
            client = address(hop)?.to_canonical();
            if !self.trust(client) {
                return Some(self.network(client));
            }
        }
        None
    }

    fn trust(&self, address: IpAddr) -> bool {
        let address = bits(address);
        self.networks
            .iter()
            .any(|network| address & network.mask == network.address)
    }

    fn network(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix));
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, ProxyError> {
        let refuse = || ProxyError::Network { text: text.into() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u32>().map_err(|_| refuse())?,
            None => most,
        };
        if prefix > most {
            return Err(refuse());
        }
        // Addresses of IPv4 are the last 32 of 128 bits, the others of which are always the same.
        let mask = u128::MAX.checked_shl(most - prefix).unwrap_or(0);
        let address = bits(address) & mask;
        Ok(Self { address, mask })
    }
}

/// An address in 128 bits: those of IPv4 as IPv6 has them.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// An address as proxies write it: with a port or without, in brackets or not.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(hop).ok()?.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Why [`TrustedProxies`] were not made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// A text is neither an address nor a network.
    Network {
        /// The text.
        text: Box<str>,
    },
    /// No such part of an address.
    Prefix {
        /// The bits that were given.
        given: u8,
    },
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { text } => write!(
                f,
                "{text:?} is neither an address nor a network; write it like \"192.0.2.1\" or \
                 \"10.0.0.0/8\""
            ),
            Self::Prefix { given } => {
                write!(f, "a prefix of {given} bits, allowed are 1 to 128")
            }
        }
    }
}

impl std::error::Error for ProxyError {}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A longer chain of proxies is none of a sensible setup.
const MAX_HOPS: usize = 64;
/// A longer key is none of a sensible client.
const MAX_KEY: usize = 1_024;
