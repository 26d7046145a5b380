// A small gateway: takes HTTP, speaks NATS. `giliran gateway` does the same and more.
//
// It sends the same request until it is settled or the caller's patience ends, and says what the
// engine said: it never makes up an answer.

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

import { Unsettled } from "./answers.ts";
import { Client } from "./giliran.ts";

const MOST_BYTES = 65_536;
const [PATIENCE, LONGEST_PATIENCE] = [10, 60];
const ROUTES: [RegExp, string][] = [
  [/^\/v1\/openings\/(?<opening>[A-Za-z0-9-]+)\/bookings$/, "book"],
  [/^\/v1\/bookings\/(?<booking>[A-Za-z0-9-]+)\/cancellation$/, "cancel"],
  [/^\/v1\/bookings\/(?<booking>[A-Za-z0-9-]+)\/reschedule$/, "reschedule"],
  [/^\/v1\/lookups$/, "lookup"],
];
const STATUS: Record<string, number> = {
  malformed: 400, not_permitted: 403, unknown_opening: 404, unknown_slot: 404, not_found: 404,
  conflict: 422, party_too_large: 422, busy: 503, unavailable: 503,
};

type Told = [status: number, body: object, headers?: Record<string, string>];

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MOST_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function told(client: Client, http: IncomingMessage): Promise<Told> {
  const text = await bodyOf(http);
  if (text === undefined) return [413, { detail: `a body of at most ${MOST_BYTES} bytes` }];
  const [path, operation] = ROUTES.find(([path]) => path.test(http.url ?? "")) ?? [];
  if (!path || !operation || http.method !== "POST") return [404, { detail: "no such address" }];
  let request: Record<string, unknown>;
  try {
    request = { ...JSON.parse(text), ...http.url!.match(path)!.groups };
  } catch {
    return [400, { detail: "the body is to be a JSON object" }];
  }
  if (operation !== "lookup") request.request_id = http.headers["idempotency-key"];
  const wait = String(http.headers.prefer ?? "").match(/^wait=(\d+)$/);
  const patience = Math.min(wait ? Number(wait[1]) : PATIENCE, LONGEST_PATIENCE);
  try {
    const answer = await client.ask(operation, request, Math.max(500, patience * 1000));
    const seconds = Math.ceil((answer.retry_after_ms ?? 0) / 1000);
    const later = seconds ? { "Retry-After": String(seconds) } : undefined;
    if (answer.outcome === "rejected") return [STATUS[answer.reason ?? ""] ?? 409, answer, later];
    return [operation !== "book" ? 200 : answer.outcome === "granted" ? 201 : 202, answer];
  } catch (error) {
    if (!(error instanceof Unsettled)) throw error;
    // It may have been granted: the same key tells.
    return [504, { detail: error.message }, { "Retry-After": "1" }];
  }
}

const client = await Client.connect();
const server = createServer(async (request, response) => {
  const [status, body, headers] = await told(client, request).catch(
    (): Told => [503, { detail: "the broker is away" }, { "Retry-After": "1" }],
  );
  const kind = status < 400 ? "json" : "problem+json";
  response.writeHead(status, { "Content-Type": `application/${kind}`, ...headers });
  response.end(JSON.stringify(body));
});
server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
