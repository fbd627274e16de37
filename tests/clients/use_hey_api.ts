// Calls the API by the functions that @hey-api/openapi-ts made, and prints what came back as JSON: node … URL KEY.
import { cancelJob, enqueueJob, getJob, listJobs, startOperation } from "./hey-api";
import { client } from "./hey-api/client.gen";

declare const process: { argv: string[] };

async function main(baseUrl: string, auth: string): Promise<void> {
  client.setConfig({ baseUrl, auth, throwOnError: true });
  const text = "Zürich & co=1. It was late.";
  const body = { kind: "summarize_text", payload: { text } } as const;
  const enqueued = (await enqueueJob({ body, throwOnError: true })).data;
  await enqueueJob({ body: { ...body, payload: { text: "Another." } }, throwOnError: true });
  const query = { status: ["queued" as const], payload: [`text=${text}`] };
  const listed = (await listJobs({ query, throwOnError: true })).data;
  const path = { id: enqueued.id };
  const read = (await getJob({ path, throwOnError: true })).data;
  const filter = { status: "queued" as const, "payload.text": text };
  const preview = (await startOperation({ body: { action: "cancel", filter, dry_run: true }, throwOnError: true })).data;
  const cancelled = (await cancelJob({ path, throwOnError: true })).data;
  console.log(JSON.stringify({ enqueued, listed, read, matched: preview.matched, cancelled }));
}

void main(process.argv[2], process.argv[3]);
