//! What each process says of itself to whoever asks all of them (`$SRV`), in the form of
//! NATS micro services.
//!
//! Everybody answers, whatever it does just then: no queue group, and nothing that waits
//! for the ledger. Requests are not served this way, since a service's endpoints are.

use async_nats::{Client, Message};
use futures_util::StreamExt;
use giliran_wire::service::{Identity, Standing, Verb};

/// What an answer may be sent to: a client's inbox, or what the broker puts in its place
/// on the way from another account. Anywhere else it could be taken for something else.
pub const REPLIES: [&str; 2] = ["_INBOX.", "_R_."];
/// Pause before the subscription is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Answers until it is dropped. `look`: how the process stands at this moment; it is
/// called once for each question, and has to be quick.
pub async fn serve(client: Client, identity: Identity, look: impl Fn() -> Standing + Send) {
    loop {
        let subscribe = |subject: String| client.subscribe(subject);
        let [all, named, one] = identity.subjects();
        match tokio::try_join!(subscribe(all), subscribe(named), subscribe(one)) {
            Ok((all, named, one)) => {
                let mut asked = futures_util::stream::select_all([all, named, one]);
                while let Some(message) = asked.next().await {
                    answer(&client, &identity, &look, message).await;
                }
            }
            Err(error) => tracing::warn!(%error, "nobody can ask how this process stands"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answer(
    client: &Client,
    identity: &Identity,
    look: &impl Fn() -> Standing,
    message: Message,
) {
    let Some(reply) = message.reply else { return };
    let Some(verb) = Verb::of_subject(&message.subject) else { return };
    if !REPLIES.iter().any(|prefix| reply.starts_with(prefix)) {
        tracing::warn!(%reply, "somebody asks how this process stands, to be told elsewhere");
        return;
    }
    let answer = identity.answer(verb, &look());
    let answer = serde_json::to_vec(&answer).expect("texts are always JSON");
    if let Err(error) = client.publish(reply, answer.into()).await {
        tracing::warn!(%error, "whoever asks how this process stands is not answered");
    }
}
