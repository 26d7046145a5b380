//! The gateway: HTTP on one side, the engine's subjects on the other.
//!
//! A request for a place, a change or a look-up becomes a request of the wire, goes to the
//! engine in a batch, and is repeated with the same bytes until it is settled or the caller's
//! patience ends. Openings and free places are shown from a copy that is renewed once a second,
//! to anybody, from memory. Statements and extracts of draws come from a folder of the operator's.
//!
//! What always holds:
//!
//! - Only the engine grants and refuses places. What the gateway refuses itself settles nothing:
//!   what cannot be read, what comes long before the opening, and what is too much at once.
//! - A request id comes from whoever asks; the gateway never makes or changes one that a program
//!   sent. So any gateway may be asked again, and any number of them run side by side.
//! - What confirms a payment has another listener and another NATS login than everybody.
//! - A raw applicant id is in no address, no log line and no metric; the client log, if one is
//!   written, is the exception that its reader asks for.
//! - Whatever a stranger can make grow has a bound: connections, requests on the way, bodies,
//!   streams, the memory of the rate limits.
//!
//! Deliberately not here: any decision about places, any state that a second gateway would have
//! to share, any login of people: a proxy or a signed token says who asks.

#![warn(missing_docs)]

mod asking;
mod bookings;
mod catalogue;
mod client_log;
mod counted;
mod draws;
mod exchange;
mod feed;
mod gateway;
mod identity;
mod lanes;
mod metrics;
mod openings;
mod page;
mod payments;
mod problem;
mod published;
mod ranges;
mod rate_limit;
mod room;
mod routes;
mod running;
mod segment;
mod signed_token;
mod statements;
mod streams;
mod to_the_end;
mod token;

pub use gateway::{BODY_BYTES_AT_ONCE, Gateway, Settings, View};
pub use giliran_web::Proxies;
pub use identity::Identity;
pub use metrics::Metrics;
pub use payments::{PaymentSettings, Payments};
pub use rate_limit::Rate;
pub use routes::starting;
pub use signed_token::{IdentityKey, NotAnIdentityKey, SignedTokens, TokenRules};
pub use token::TokenKey;
