// graphile-worker: one process, a local queue, completions in batches.
import gw from "graphile-worker";
import pg from "pg";
import { note, options, stopped, timed, url, verb } from "./options.mjs";

const quiet = { logger: new gw.Logger(() => () => {}) };
const pgPool = new pg.Pool({ connectionString: url, max: (options.concurrency ?? 1) + 10 });

if (verb === "setup" || verb === "enqueue") {
  const utils = await gw.makeWorkerUtils({ pgPool, ...quiet });
  if (verb === "setup") await utils.migrate();
  else await timed((many) => utils.addJobs(many((n) => ({ identifier: "noop", payload: { n } }))));
  await utils.release();
} else {
  const batching =
    options.localQueue > 0
      ? {
          localQueue: { size: options.localQueue },
          completeJobBatchDelay: options.completeDelay,
          failJobBatchDelay: options.completeDelay,
        }
      : {};
  const runner = await gw.run({
    pgPool,
    preset: { worker: { concurrentJobs: options.concurrency, ...batching } },
    taskList: { noop: () => {}, started: (payload) => note(payload.n) },
    noHandleSignals: true,
    ...quiet,
  });
  await stopped;
  await runner.stop();
}
await pgPool.end();
process.exit(0);
