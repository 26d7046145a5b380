// A client of Giliran over HTTP, with nothing but what Node comes with.
//
// `ask` sends the same request with the same key until an answer settles it or the patience ends.

import { type Answer, nextStep, pauseAfter, type Request, sleep, Unsettled } from "./answers.ts";

/** Seconds that the gateway is given for an attempt, and beyond which it is not waited for. */
const WAIT = 10;
const BEYOND = 5;

/** This client does not do that. */
export class Cannot extends Error {}

export const gateway = () => process.env.GILIRAN_URL ?? "http://127.0.0.1:8080";

/** Path, idempotency key and body of a request as the wire protocol has it. */
function address(operation: string, request: Request): [string, string | undefined, Request] {
  const { request_id, opening, booking, ...rest } = request;
  const key = request_id as string | undefined;
  switch (operation) {
    case "book":
      return [`/v1/openings/${encodeURIComponent(opening as string)}/bookings`, key, { booking, ...rest }];
    case "cancel":
      return [`/v1/bookings/${encodeURIComponent(booking as string)}/cancellation`, key, rest];
    case "reschedule":
      return [`/v1/bookings/${encodeURIComponent(booking as string)}/reschedule`, key, rest];
    case "lookup":
      return ["/v1/lookups", undefined, request];
    default:
      throw new Cannot(`${operation}: not over HTTP`);
  }
}

/** The answer that settles a request, as the wire protocol has it, and where what becomes of it can be
 * read; null where nothing was booked. */
export async function ask(
  url: string,
  operation: string,
  request: Request,
  patience = 60_000,
): Promise<{ answer: Answer; location: string | null }> {
  const [path, key, body] = address(operation, request);
  const giveUpAt = performance.now() + patience;
  for (let tries = 1; ; tries++) {
    const left = Math.max(0, giveUpAt - performance.now());
    const wait = Math.floor(Math.min(WAIT, left / 1000));
    let pause = pauseAfter(tries);
    let why: string;
    try {
      const response = await fetch(url + path, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Prefer: `wait=${wait}`,
          ...(key ? { "Idempotency-Key": key } : {}),
        },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout((wait + BEYOND) * 1000),
      });
      const answer = (await response.json()) as Answer;
      // 503 and 504 settle nothing, whatever they say; 429 is for whoever asks too often.
      const settled = ![429, 503, 504].includes(response.status);
      if (settled && nextStep(answer, operation) !== "again") {
        return { answer, location: response.headers.get("Location") };
      }
      why = answer.reason ?? String(response.status);
      pause = Math.max(pause, 1000 * Number(response.headers.get("Retry-After") ?? 0));
    } catch (error) {
      why = String(error); // No connection, or no whole answer: nothing is known.
    }
    if (performance.now() + pause >= giveUpAt) {
      throw new Unsettled(`${operation}: ${why}; ${tries} tries`);
    }
    await sleep(pause);
  }
}

/** What becomes of a request, as it changes (server-sent events); `location` comes with 201 and 202.
 * Ends when the connection does: come back with the last id. */
export async function* events(url: string, location: string, last?: string) {
  const response = await fetch(`${url}${location}/stream`, {
    headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
  });
  let rest = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) {
      const field = (name: string) => part.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
      const data = field("data");
      if (data) yield { id: field("id"), data: JSON.parse(data) as Answer };
    }
  }
}
