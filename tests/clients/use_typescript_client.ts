// Calls the API by the types that openapi-typescript made, and prints what came back as JSON: node … URL KEY.
import createClient from "openapi-fetch";
import type { components, paths } from "./haulier";

type Request = components["schemas"]["CreateJobRequest"];
type Job = components["schemas"]["JobResponse"];

declare const process: { argv: string[] };
const [, , baseUrl, key] = process.argv;
const haulier = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const requests: Request[] = [
  { kind: "resize_image", payload: { source: "https://example.com/cat.jpg", width: 640, fit: "cover" }, priority: 5 },
  {
    kind: "send_email",
    payload: { to: "a@b.c", subject: "Hi", body: "Hello.", cc: ["d@b.c", "e@b.c"], bcc: "f@b.c" },
    queue: null,
  },
  { kind: "summarize_text", payload: { text: "The ship came in. It was late." } },
  {
    kind: "webhook_delivery",
    payload: { url: "https://b.c/hook", body: { lines: [1, null, "x"] }, headers: { "X-Shop": "7" } },
  },
];

function found<T>(answer: { data?: T; error?: components["schemas"]["ErrorBody"] }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

// What does not fit its kind does not compile.
// @ts-expect-error
export const unfit: Request = { kind: "summarize_text", payload: { to: "a@b.c" } };
// @ts-expect-error
export const unknown: Request = { kind: "sumarize_text", payload: { text: "The ship came in." } };

const enqueued: Job[] = [];
for (const body of requests) enqueued.push(found(await haulier.POST("/jobs", { body })));
const listed = found(await haulier.GET("/jobs", { params: { query: { status: ["queued"], limit: 10 } } }));
const searched = found(await haulier.GET("/jobs", { params: { query: { payload: ["to=a@b.c", "body=Hello."] } } }));
const read: Job[] = [];
for (const { id } of enqueued) {
  read.push(found(await haulier.GET("/jobs/{id}", { params: { path: { id } } })));
}
for (const { id } of enqueued) {
  const path = { id };
  const { status } = found(await haulier.POST("/jobs/{id}/cancel", { params: { path } }));
  if (status !== "cancelled") throw new Error(status);
}
const first = { id: enqueued[0].id };
const retried = found(await haulier.POST("/jobs/{id}/retry", { params: { path: first } }));
const batch = await haulier.POST("/jobs/batch", { body: requests });
const { error } = await haulier.POST("/jobs", {
  params: { header: { "Idempotency-Key": '""' } },
  body: requests[0],
});
console.log(
  JSON.stringify({
    enqueued,
    listed: listed.map((job) => job.id),
    searched: searched.map((job) => job.id),
    read,
    retried,
    batch: batch.data && "jobs" in batch.data ? batch.data.jobs.map((item) => item.id) : [],
    kinds: found(await haulier.GET("/kinds")).map((each) => each.kind),
    refused: error?.error,
  }),
);
