// Calls the API by the functions that orval made, and prints what came back as JSON: node … URL KEY.
import { cancelJob, enqueueJob, getJob, listJobs, startOperation } from "./orval";
import { enqueueJobBody } from "./orval.zod";

declare const process: { argv: string[] };

// They call paths of the page's own host, unless orval's settings have a baseUrl.
function callThere(baseUrl: string, key: string): void {
  const there = globalThis.fetch;
  globalThis.fetch = (path, init) =>
    there(new URL(String(path), baseUrl), { ...init, headers: { ...init?.headers, Authorization: `Bearer ${key}` } });
}

async function main(): Promise<void> {
  const text = "Zürich & co=1. It was late.";
  const body = { kind: "summarize_text", payload: { text } } as const;
  enqueueJobBody.parse(body);
  const enqueued = await enqueueJob(body);
  await enqueueJob({ ...body, payload: { text: "Another." } });
  if (enqueued.status !== 201) throw new Error(JSON.stringify(enqueued.data));
  const listed = await listJobs({ status: ["queued"], payload: [`text=${text}`] });
  const read = await getJob(enqueued.data.id);
  const filter = { status: "queued", "payload.text": text } as const;
  const preview = await startOperation({ action: "cancel", filter, dry_run: true });
  if (preview.status !== 200) throw new Error(JSON.stringify(preview.data));
  const cancelled = await cancelJob(enqueued.data.id);
  console.log(
    JSON.stringify({
      enqueued: enqueued.data,
      listed: listed.data,
      read: read.data,
      matched: preview.data.matched,
      cancelled: cancelled.data,
    }),
  );
}

callThere(process.argv[2], process.argv[3]);
void main();
