// Kalends from TypeScript, with nothing but what comes with Node.
//   KALENDS=https://calendar.example.org TOKEN=kal_… node kalends.js
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer, type Server } from "node:http";
import { pathToFileURL } from "node:url";

export interface Page<Item> { items: Item[]; next_cursor: string | null }
export interface Calendar { id: string; display_name: string; components: string[]; sync_token: string }
export interface Event { uid: string; etag: string; title?: string; location?: string }
export interface Slot { start: string; end: string }
export interface Booking { id: string; uid: string; etag: string; status: string; start: string; end: string }
export interface Change { calendar: string; rev: number; change: "put" | "deleted" | "properties" | "calendar"; uid: string | null }
export interface Changes { items: Change[]; next_cursor: string; more: boolean }
export interface Problem { type: string; title: string; status: number; detail: string; field?: string }

/** A refusal: problem details (RFC 9457). `kind` is made for programs and stays, `detail` is for people. */
export class Refused extends Error {
  readonly kind: string;
  constructor(readonly status: number, readonly problem: Problem, readonly retryAfter: string | null) {
    super(`${status} ${problem.detail}`);
    this.kind = problem.type.split("/").at(-1) ?? "";
  }
}

const sleep = (seconds: number) => new Promise((done) => setTimeout(done, seconds * 1000));

export class Kalends {
  constructor(private readonly address: string, private readonly token: string) {}

  private fetch(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    return fetch(`${this.address.replace(/\/$/, "")}/api/v1${path}`, {
      method,
      // The User-Agent is told in the history of every event that this program writes.
      headers: { Authorization: `Bearer ${this.token}`, "User-Agent": "shop/1.0", "Content-Type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  }

  async ask<Answer>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
    const answer = await this.fetch(method, path, body, headers);
    const text = await answer.text();
    if (!answer.ok) throw new Refused(answer.status, JSON.parse(text) as Problem, answer.headers.get("retry-after"));
    return (text ? JSON.parse(text) : null) as Answer;
  }

  /** Every item of a list, page by page. */
  async *all<Item>(path: string): AsyncGenerator<Item> {
    let cursor: string | null = null;
    do {
      const more: string = cursor === null ? "" : `${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}`;
      const page: Page<Item> = await this.ask<Page<Item>>("GET", path + more);
      yield* page.items;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /** Books once, however often it has to be sent: the key is the same each time. Null: somebody else was quicker. */
  async book(wish: unknown, tries = 5): Promise<Booking | null> {
    const key = randomUUID();
    for (let attempt = 0; attempt < tries; attempt++) {
      let wait = 2 ** attempt;
      try {
        return await this.ask<Booking>("POST", "/bookings", wish, { "Idempotency-Key": key });
      } catch (error) {
        if (error instanceof Refused) {
          if (error.kind === "slot-taken") return null;
          if (error.status !== 429 && error.status !== 503) throw error;
          wait = Number(error.retryAfter ?? wait);
        }
        // Else no answer came: nobody knows whether it was booked, so the same is asked again.
      }
      await sleep(wait);
    }
    throw new Error("no answer");
  }

  /** What was written after a position, for ever. Keep the position with what you made of the items. */
  async *changes(since: string, wait = 25): AsyncGenerator<Changes> {
    for (;;) {
      const page: Changes = await this.ask<Changes>("GET", `/changes?${new URLSearchParams({ since, wait: String(wait) })}`);
      since = page.next_cursor;
      if (page.items.length > 0) yield page;
    }
  }

  /** The same as server-sent events. After a break go on with the last id. */
  async *stream(last: string): AsyncGenerator<{ id: string; change: Change }> {
    const stop = new AbortController();
    const answer = await this.fetch("GET", "/changes/stream", undefined, { "Last-Event-ID": last, Accept: "text/event-stream" }, stop.signal);
    if (!answer.ok || !answer.body) throw new Error(`no stream: ${answer.status}`);
    let text = "";
    const decoder = new TextDecoder();
    try {
      for await (const bytes of answer.body as unknown as AsyncIterable<Uint8Array>) {
        text += decoder.decode(bytes, { stream: true });
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const lines = text.slice(0, end).split("\n");
          text = text.slice(end + 2);
          const of = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
          last = of("id") ?? last;
          const data = of("data");
          if (of("event") === "change" && data) yield { id: last, change: JSON.parse(data) as Change };
        }
      }
    } finally {
      stop.abort();
    }
  }
}

/** Tells whether a webhook came from the server and is fresh (https://www.standardwebhooks.com). */
export function genuine(secret: string, headers: Record<string, string | string[] | undefined>, body: Buffer, now = Date.now() / 1000): boolean {
  const one = (name: string) => String(headers[name] ?? "");
  const stamp = one("webhook-timestamp");
  if (!/^[0-9]+$/.test(stamp) || Math.abs(now - Number(stamp)) > 300) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const wanted = createHmac("sha256", key).update(`${one("webhook-id")}.${stamp}.`).update(body).digest();
  // While a secret is changed there are two signatures.
  return one("webhook-signature").split(" ").some((signature) => {
    const [version, mac] = signature.split(",", 2);
    const given = Buffer.from(mac ?? "", "base64");
    return version === "v1" && given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

/** A server for webhooks; `heard` is given each message once. */
export function receiver(secret: string, heard: (message: unknown) => void): Server {
  const seen = new Set<string>(); // keep this where it survives a restart
  return createServer((request, answer) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      const id = String(request.headers["webhook-id"] ?? "");
      if (!genuine(secret, request.headers, body)) return answer.writeHead(401).end();
      if (!seen.has(id)) {
        seen.add(id);
        heard(JSON.parse(body.toString("utf8"))); // something quick: the answer is waited for
      }
      return answer.writeHead(204).end();
    });
  });
}

async function main(): Promise<void> {
  const kalends = new Kalends(process.env["KALENDS"] ?? "", process.env["TOKEN"] ?? "");
  let calendar: Calendar | undefined;
  for await (const one of kalends.all<Calendar>("/calendars")) calendar ??= one.components.includes("VEVENT") ? one : undefined;
  if (!calendar) throw new Error("no calendar");
  console.log("calendar", calendar.display_name);

  const day = new Date(Date.now() + 32 * 86_400_000).toISOString().slice(0, 10);
  const events = `/calendars/${calendar.id}/events`;
  const wished = { title: "Review", start: `${day}T09:00:00`, duration: "PT1H", time_zone: "Europe/Berlin" };
  const made = await kalends.ask<Event>("POST", events, wished);
  // Change it only if nobody else did meanwhile.
  const match = { "If-Match": `"${made.etag}"` };
  const changed = await kalends.ask<Event>("PATCH", `${events}/${made.uid}`, { location: "Room 2" }, match);
  console.log("event", changed.title, changed.location);
  try {
    await kalends.ask<Event>("PATCH", `${events}/${made.uid}`, { location: "Room 3" }, match);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    console.log("refused", error.status, error.kind);
  }

  const query = new URLSearchParams({ from: `${day}T12:00:00Z`, to: `${day}T16:00:00Z`, duration: "PT45M" });
  const { slots } = await kalends.ask<{ slots: Slot[] }>("GET", `/availability?${query}`);
  const start = slots[0]?.start;
  const wish = { start, duration: "PT45M", service: "Haircut", customer: { name: "Eva Example", email: "eva@example.org" } };
  const booking = await kalends.book(wish);
  if (!booking) throw new Error("taken");
  console.log("booked", booking.status, booking.start === start);
  console.log("rival", await kalends.book(wish));

  const position = (await kalends.ask<Calendar>("GET", `/calendars/${calendar.id}`)).sync_token;
  await kalends.ask("DELETE", `/bookings/${booking.id}`);
  let next = position;
  for await (const page of kalends.changes(position)) {
    console.log("changes", page.items[0]?.change);
    next = page.next_cursor;
    break;
  }
  await kalends.ask("DELETE", `${events}/${made.uid}`);
  for await (const { id, change } of kalends.stream(next)) {
    console.log("stream", change.change, id !== next);
    break;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
