// What an answer means to whoever asked, over NATS and over HTTP alike. docs/schemas has the whole
// of it; here stands what the clients look at.

export interface Booking {
  id: string;
  version: number;
  status: "held" | "confirmed" | "cancelled" | "expired";
  [field: string]: unknown;
}

export interface Answer {
  outcome?: "granted" | "entered" | "rejected";
  booking?: Booking;
  reason?: string;
  retry_after_ms?: number;
  [field: string]: unknown;
}

export type Request = Record<string, unknown>;
export type Step = "done" | "confirm" | "wait" | "gone" | "again" | "stop";

/** Nothing was settled in the time given. The request may have been granted: the same request
 * again, or `lookup` by its id, tells. */
export class Unsettled extends Error {}

const WORTH_A_RETRY = new Set(["busy", "unavailable", "not_open"]);

/** What to do with an answer: `done`; `confirm` it before its hold ends; `wait` for the draw;
 * `gone`, this request has no place any more; `again`, the same request after a pause; `stop`. */
export function nextStep(answer: Answer, operation: string): Step {
  switch (answer.outcome) {
    case "granted":
      if (answer.booking?.status === "confirmed") return "done";
      return answer.booking?.status === "held" ? "confirm" : "gone";
    case "entered":
      return operation === "cancel" ? "gone" : "wait";
    default:
      return WORTH_A_RETRY.has(answer.reason ?? "") ? "again" : "stop";
  }
}

/** Milliseconds until the next try: what the answer names, else 200 ms, doubled up to 3.2 s;
 * scattered, so that a crowd does not come back in step. */
export function pauseAfter(tries: number, answer?: Answer): number {
  if (answer?.retry_after_ms !== undefined) return answer.retry_after_ms * (1 + Math.random() / 5);
  return 200 * 2 ** Math.min(tries - 1, 4) * (0.5 + Math.random());
}

export const sleep = (ms: number) => new Promise((wake) => setTimeout(wake, ms));
