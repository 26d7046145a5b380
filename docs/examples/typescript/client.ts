// Books one place with Giliran, and prints the answer.
//
//     node client.ts OPENING OFFICE APPLICANT [REQUEST_ID]            over NATS
//     node client.ts --http OPENING OFFICE APPLICANT [REQUEST_ID]     over HTTP; prints what becomes
//                                                                     of it until it has ended

import { randomUUID } from "node:crypto";

import { nextStep, Unsettled } from "./answers.ts";
import * as http from "./http_client.ts";

const overHttp = process.argv[2] === "--http";
const [opening, office, applicant, key] = process.argv.slice(overHttp ? 3 : 2);
if (!applicant) {
  console.error("usage: client.ts [--http] OPENING OFFICE APPLICANT [REQUEST_ID]");
  process.exit(2);
}
// Made once, before the first try; a real client stores it with the order.
const request_id = key ?? randomUUID();
let follow: string | null = null;
const wish = { request_id, applicants: [applicant], choices: [{ office }], opening };

async function book() {
  if (overHttp) {
    const { answer, location } = await http.ask(http.gateway(), "book", wish);
    follow = location;
    return answer;
  }
  const { Client } = await import("./giliran.ts");
  const client = await Client.connect();
  return client.ask("book", wish).finally(() => client.connection.drain());
}

try {
  const answer = await book();
  console.log(JSON.stringify(answer));
  if (follow) {
    for await (const news of http.events(http.gateway(), follow)) console.log(JSON.stringify(news.data));
  }
  process.exitCode = ["done", "confirm", "wait"].includes(nextStep(answer, "book")) ? 0 : 1;
} catch (error) {
  if (!(error instanceof Unsettled)) throw error;
  console.error(`client.ts: ${error.message}; go on with request id ${request_id}`);
  process.exitCode = 1;
}
