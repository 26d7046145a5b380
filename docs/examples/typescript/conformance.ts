// Lets `giliran conformance` ask the clients beside it: a line in, a line out.
//
//     giliran conformance -- node conformance.ts
//     giliran conformance --http -- node conformance.ts --http
//
// docs/conformance/README.md says what the lines mean.

import { createInterface } from "node:readline";

import { type Answer, type Booking, nextStep, sleep, Unsettled } from "./answers.ts";
import type { Client, Event } from "./giliran.ts";
import * as http from "./http_client.ts";

// biome-ignore lint: a line has the fields that its `do` asks for.
type Line = Record<string, any>;

const overHttp = process.argv.includes("--http");
const hex = (text: string) => Buffer.from(text).toString("hex");
const json = (bytes: string) => JSON.parse(Buffer.from(bytes, "hex").toString());
const events: Event[] = [];
let client: Client | undefined;

async function connected(): Promise<Client> {
  const giliran = await import("./giliran.ts");
  return (client ??= await giliran.Client.connect());
}

/** An answer, and what to do with it. */
function told(answer: Answer, operation: string) {
  return answer.outcome ? { answer, then: nextStep(answer, operation) } : { answer };
}

const ofBooking = (id: string) => events.filter((event) => event.data.booking?.id === id);

const does: Record<string, (line: Line) => Promise<object>> = {
  async start() {
    if (!overHttp) await connected();
    return {};
  },
  async write({ form, operation, request }) {
    if (form !== "json") throw new http.Cannot("this client writes JSON alone");
    const subject = `${process.env.GILIRAN_PREFIX}.${operation}`;
    return { subject, bytes: hex(JSON.stringify(request)) };
  },
  async read({ form, operation, bytes }) {
    if (form !== "json") throw new http.Cannot("this client reads JSON alone");
    return told(json(bytes), operation);
  },
  async fold({ events }) {
    const { fold } = await import("./giliran.ts");
    const bookings = new Map<string, Booking>();
    for (const event of events) fold(bookings, json(event));
    return { bookings: Object.fromEntries(bookings) };
  },
  async ask({ operation, request, patience_ms }) {
    try {
      const answer = overHttp
        ? (await http.ask(http.gateway(), operation, request, patience_ms)).answer
        : await (await connected()).ask(operation, request, patience_ms);
      return told(answer, operation);
    } catch (error) {
      if (error instanceof Unsettled) return { unsettled: error.message };
      throw error;
    }
  },
  async listen() {
    if (overHttp) throw new http.Cannot("listen: not over HTTP");
    await (await connected()).listen((event) => events.push(event));
    return {};
  },
  async heard({ booking, number, within_ms }) {
    const until = performance.now() + within_ms;
    while (ofBooking(booking).length < number && performance.now() < until) await sleep(20);
    await sleep(200); // What is too much comes soon.
    return { events: ofBooking(booking) };
  },
};

for await (const text of createInterface({ input: process.stdin })) {
  const line: Line = JSON.parse(text);
  let answer: object;
  try {
    const cannot = async () => ({ cannot: `${line.do}: not by this client` });
    answer = await (does[line.do] ?? cannot)(line);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    answer = error instanceof http.Cannot ? { cannot: why } : { error: why };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
