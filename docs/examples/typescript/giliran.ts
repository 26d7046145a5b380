// A client of Giliran over NATS: what to send again, what to stop at, what to listen to.
//
//     const client = await Client.connect();
//     const answer = await client.ask("book", { request_id, applicants, choices });
//
// `ask` sends the same bytes until an answer settles the request or the patience ends.

import { connect, errors, type NatsConnection } from "@nats-io/transport-node";

import { type Answer, type Booking, nextStep, pauseAfter, type Request, sleep, Unsettled } from "./answers.ts";

/** Milliseconds that an attempt waits for its answer. */
const ATTEMPT = 2500;

export interface Event {
  id: string;
  type: string;
  data: { booking?: Booking | null; [field: string]: unknown };
  [field: string]: unknown;
}

export class Client {
  connection: NatsConnection;
  prefix: string;

  constructor(connection: NatsConnection, prefix: string) {
    this.connection = connection;
    this.prefix = prefix;
  }

  /** NATS_URL, and where the server asks for them NATS_USER with NATS_PASSWORD, and
   * NATS_INBOX_PREFIX. */
  static async connect(prefix?: string): Promise<Client> {
    const { NATS_URL, NATS_USER, NATS_PASSWORD, NATS_INBOX_PREFIX, GILIRAN_PREFIX } = process.env;
    const connection = await connect({
      servers: NATS_URL ?? "nats://127.0.0.1:4222",
      name: "giliran example",
      ...(NATS_USER ? { user: NATS_USER, pass: NATS_PASSWORD } : {}),
      ...(NATS_INBOX_PREFIX ? { inboxPrefix: NATS_INBOX_PREFIX } : {}),
    });
    return new Client(connection, prefix ?? GILIRAN_PREFIX ?? "giliran.v1");
  }

  /** The answer that settles a request; always the same bytes. */
  async ask(operation: string, request: Request, patience = 60_000): Promise<Answer> {
    const subject = `${this.prefix}.${operation}`;
    const payload = JSON.stringify(request);
    const giveUpAt = performance.now() + patience;
    for (let tries = 1; ; tries++) {
      let why: string;
      let answer: Answer | undefined;
      try {
        const left = Math.max(50, giveUpAt - performance.now());
        const options = { timeout: Math.min(ATTEMPT, left) };
        const message = await this.connection.request(subject, payload, options);
        answer = message.json<Answer>();
        // An answer to `availability` has no outcome, unless it is a rejection.
        if (!answer.outcome || nextStep(answer, operation) !== "again") return answer;
        why = answer.reason!;
      } catch (error) {
        why = unheard(error);
      }
      const pause = pauseAfter(tries, answer);
      if (performance.now() + pause >= giveUpAt) {
        throw new Unsettled(`${operation}: ${why}; ${tries} tries`);
      }
      await sleep(pause);
    }
  }

  /** Calls back with each change of a booking or an entry, once. Who was not connected has missed
   * it: `lookup` tells. */
  async listen(heard: (event: Event) => void): Promise<void> {
    const known = new Set<string>();
    this.connection.subscribe(`${this.prefix}.feed.events`, {
      callback: (error, message) => {
        if (error) return;
        const told = message.json<{ first?: number; events: Event[] }>();
        // Not the feed's: anybody may have had the broker say it.
        if (told.first === undefined) return;
        for (const event of told.events) {
          if (known.has(event.id)) continue;
          known.add(event.id);
          heard(event);
        }
      },
    });
    await this.connection.flush();
  }
}

/** Why there is no answer; what is no matter of waiting is thrown on. */
function unheard(error: unknown): string {
  if (error instanceof errors.TimeoutError) return "no answer in time";
  if (error instanceof errors.NoRespondersError) return "no engine is active";
  if (error instanceof errors.RequestError && error.isNoResponders()) return "no engine is active";
  throw error;
}

/** Keeps the newest state of each booking: events may come twice and late, speak of entries, or be
 * of types that nobody knows yet. */
export function fold(bookings: Map<string, Booking>, event: Event): void {
  const booking = event.data.booking;
  if (booking && booking.version > (bookings.get(booking.id)?.version ?? 0)) {
    bookings.set(booking.id, booking);
  }
}
