// The words that lab/bench/contenders/peers.py gives: VERB URL JOBS NAME=VALUE…
import { appendFileSync } from "node:fs";

const [verb, url, jobs, ...words] = process.argv.slice(2);
const options = Object.fromEntries(words.map((word) => word.split("=")).map(([name, value]) => [name, Number(value)]));
export { verb, url, options };
export const count = Number(jobs);

// Enqueue by thousands, and say how long that took.
export async function timed(enqueue) {
  const began = performance.now();
  for (let done = 0; done < count; done += 1000) {
    const length = Math.min(1000, count - done);
    await enqueue((make) => Array.from({ length }, (_, n) => make(done + n)));
  }
  console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000 }));
}

// The same line as lab/bench/kinds.py writes: the number, the machine's monotonic clock, the process.
export function note(n) {
  const now = Number(process.hrtime.bigint()) / 1e9;
  appendFileSync(process.env.BENCH_NOTES ?? "/dev/null", `${n} ${now.toFixed(6)} ${process.pid}\n`);
}

export const stopped = new Promise((resolve) => {
  process.on("SIGTERM", resolve);
  process.on("SIGINT", resolve);
});
