// BullMQ: one worker with concurrent jobs, which are removed when they are done.
import { Queue, Worker } from "bullmq";
import { options, stopped, timed, url, verb } from "./options.mjs";

const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };

if (verb === "enqueue") {
  const queue = new Queue("b", { connection });
  const one = (n) => ({ name: "noop", data: { n }, opts: { removeOnComplete: true } });
  await timed((many) => queue.addBulk(many(one)));
} else {
  new Worker("b", async () => {}, { connection, concurrency: options.concurrency });
  await stopped;
}
process.exit(0);
