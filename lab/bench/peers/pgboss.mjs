// pg-boss: loops that fetch and complete in batches, in one process.
import PgBoss from "pg-boss";
import { options, stopped, timed, url, verb } from "./options.mjs";

const boss = new PgBoss({ connectionString: url, max: (options.fetchers ?? 1) + 4, supervise: false, schedule: false });
await boss.start();

async function fetchAndComplete() {
  for (;;) {
    const jobs = await boss.fetch("noop", { batchSize: options.batch });
    if (jobs?.length) await boss.complete("noop", jobs.map((job) => job.id));
    else await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

if (verb === "setup") await boss.createQueue("noop");
else if (verb === "enqueue") await timed((many) => boss.insert(many((n) => ({ name: "noop", data: { n } }))));
else {
  for (let n = 0; n < options.fetchers; n++) fetchAndComplete();
  await stopped;
}
process.exit(0);
