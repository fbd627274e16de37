// Haulier's dashboard. Every page works without this file; with it pages stay fresh, keys work and charts can be read.
"use strict";

const main = document.getElementById("main");
const $ = (what, from = document) => from.querySelector(what);
const $$ = (what, from = document) => [...from.querySelectorAll(what)];

// Stay fresh -------------------------------------------------------------------------------------------------------
// The page polls its own URL; the server answers with only <main>, or with 204 if nothing has changed.
const live = {
  button: $("[data-live-toggle]"),
  // A page that can no longer change has no such attribute.
  get every() { return Number(main?.dataset.liveEvery || 0) * 1000; },
  failures: 0,
  // Whether news waits, and whether it is to be shown at once.
  waits: false,
  now: false,
  timer: 0,
  asking: null,
};

// localStorage throws if the browser forbids it.
function stored(name) { try { return localStorage[`haulier${name}`]; } catch { return undefined; } }
function store(name, value) { try { localStorage[`haulier${name}`] = value; } catch { /* only for this page */ } }

function isBusy() {
  const at = document.activeElement;
  return (
    document.hidden || stored("Live") === "off" || $("dialog[open]") || $(".bulk input:checked, .band") ||
    (main.contains(at) && at.matches("input:not([type=checkbox]), select, textarea")) || !getSelection().isCollapsed
  );
}

function show(state, why = "", word = "") {
  live.waits = state === "waiting";
  if (!live.button) return;
  live.button.hidden = !live.every;
  live.button.dataset.state = state;
  live.button.textContent = { live: "Live", paused: "Paused", stale: "Out of date", waiting: word }[state] + (why && `: ${why}`);
  live.button.setAttribute("aria-pressed", String(state !== "paused"));
}

function schedule(wait) {
  clearTimeout(live.timer);
  if (live.every) live.timer = setTimeout(refresh, wait ?? live.every * (0.9 + 0.2 * Math.random()));
}

async function refresh() {
  if (isBusy()) {
    show("paused", stored("Live") !== "off" && $(".band") ? "a time is selected" : "");
    return schedule(1000);
  }
  const now = live.now;
  live.now = false;
  live.asking = new AbortController();
  try {
    // If no worker is running, the page that shows an operation does its work.
    const work = $("form[data-advance]");
    if (work) await fetch(work.action, { method: "POST", body: new FormData(work), signal: live.asking.signal, redirect: "manual" });
    const answer = await fetch(location.href, {
      headers: { "Haulier-Live": main.dataset.seen || "-" },
      signal: AbortSignal.any([live.asking.signal, AbortSignal.timeout(10000)]),
      cache: "no-store",
      redirect: "error",
    });
    if (answer.status === 401) return location.reload();
    showCounts(answer.headers.get("Haulier-Counts"));
    if (answer.status === 200) {
      const text = await answer.text();
      const news = isBusy() ? null : morph(text, now);
      if (news !== null) { live.failures = 0; show("waiting", "show", news ? `${news} new` : "Changed"); return schedule(); }
    } else if (answer.status !== 204) throw new Error(`${answer.status}`);
    live.failures = 0;
    show("live");
    schedule();
  } catch (error) {
    if (live.asking.signal.aborted) return; // by a form that is being sent
    live.failures += 1;
    show("stale", "retrying");
    schedule(Math.min(60000, live.every * 2 ** live.failures));
  }
}

// The counts of the menu, which is outside of <main>. One that is unknown now goes.
function showCounts(text) {
  const counts = JSON.parse(text || "{}");
  for (const at of $$("[data-count]")) {
    const [many, ...words] = (counts[at.dataset.count] ?? "").split(" ");
    at.firstElementChild.textContent = many;
    at.lastElementChild.textContent = words.join(" ");
  }
}

// The only place where text becomes HTML: what the server has sent, already escaped.
const own = window.trustedTypes?.createPolicy("haulier", { createHTML: (text) => text }) ?? { createHTML: (text) => text };

// Rows do not move under the pointer: a table waits while the pointer or the focus is in it, or a row is selected.
const isSelected = (table) => $("tr[aria-selected=true]", table) !== null;
const isHeld = (table) => table.matches(":hover") || table.contains(document.activeElement) || isSelected(table);
const rowIds = (table) => $$("tbody tr[id]", table).map((row) => row.id);

// Returns how many rows are new in tables that wait; null if none waits.
function morph(text, isForced) {
  const seen = main.dataset.seen;
  let news = null;
  const fresh = new DOMParser().parseFromString(own.createHTML(text), "text/html").getElementById("main");
  if (!fresh) return null;
  Idiomorph.morph(main, fresh, {
    morphStyle: "outerHTML",
    callbacks: {
      beforeNodeMorphed: (node, next) => {
        // How many are selected is known here only.
        if (!isForced && node.matches?.(".bulk") && isSelected(main)) return false;
        if (isForced || !node.matches?.("main table") || !isHeld(node)) return true;
        const before = rowIds(node), after = rowIds(next);
        if (!isSelected(node) && `${before}` === `${after}`) return true;
        news = (news ?? 0) + after.filter((id) => !before.includes(id)).length;
        return false;
      },
      // Keep open what a person has opened.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.matches("details, dialog")),
      // Keep what a person is looking at: the hair of a chart, a message.
      beforeNodeRemoved: (node) => !(node.dataset && "keep" in node.dataset),
    },
  });
  setClock();
  tellTimes();
  // The next poll brings it again.
  if (news !== null) main.dataset.seen = seen;
  return news;
}

live.button?.addEventListener("click", () => {
  if (live.waits) { live.now = true; return schedule(0); }
  store("Live", stored("Live") === "off" ? "on" : "off");
  show(stored("Live") === "off" ? "paused" : "live");
  schedule(0);
});
document.addEventListener("visibilitychange", () => !document.hidden && schedule(0));
// No poll may replace the page while a form is sent, and a double click sends the form once. It can be sent again after
// a while, because the person may have stopped it, and when the page is shown again after going back.
let sent = null, sentAt = 0;
document.addEventListener("submit", (event) => {
  live.asking?.abort();
  clearTimeout(live.timer);
  if (event.target.method !== "post") return;
  if (sent === event.target && Date.now() - sentAt < 5000) return event.preventDefault();
  sent = event.target;
  sentAt = Date.now();
});
window.addEventListener("pageshow", (event) => { sent = null; if (event.persisted) schedule(0); });

// Times: "3 min ago" grows older by itself --------------------------------------------------------------------------
// The clock is that of the database when the page was made.
let offset = 0;
function setClock() { offset = main?.dataset.now ? Date.parse(main.dataset.now) - Date.now() : 0; }
setClock();
function ago(seconds) {
  const future = seconds < 0, s = Math.abs(seconds);
  const [n, unit] = s < 1 ? [0, "now"] : s < 60 ? [s, "s"] : s < 3600 ? [s / 60, "min"] : s < 86400 ? [s / 3600, "h"] : [s / 86400, s < 172800 ? "day" : "days"];
  return unit === "now" ? "now" : future ? `in ${Math.floor(n)} ${unit}` : `${Math.floor(n)} ${unit} ago`;
}
function tellTimes() {
  for (const time of $$("time[data-ago]")) {
    const exact = document.documentElement.hasAttribute("data-exact");
    // Durations are shown without the word in the attribute ("ago").
    const said = exact ? time.title || time.dateTime : ago((Date.now() + offset - Date.parse(time.dateTime)) / 1000).replace(time.dataset.ago, "");
    if (time.textContent !== said) time.textContent = said;
  }
}
setInterval(tellTimes, 1000);

// Charts: the numbers come from the table below ------------------------------------------------------------------
function readChart(area, place) {
  const table = $("table", area.closest(".chart"));
  const rows = $$("tbody tr", table), names = $$("thead th", table).slice(1).map((th) => th.textContent);
  place = Math.max(0, Math.min(rows.length - 1, place));
  area.dataset.place = place;
  const cells = [...rows[place].cells].map((cell) => cell.textContent.trim());
  const share = (place + 0.5) / rows.length, wide = area.clientWidth;
  let hair = $(".hair", area), tip = $(".tip", area);
  if (!hair) {
    area.append((hair = document.createElement("span")), (tip = document.createElement("span")));
    hair.className = "hair"; tip.className = "tip"; hair.dataset.keep = tip.dataset.keep = ""; tip.setAttribute("role", "status");
  }
  tip.textContent = [cells[0], ...names.map((name, i) => `${name}  ${cells[i + 1]}`)].join("\n");
  hair.style.left = `${share * wide}px`;
  tip.style.left = share < 0.6 ? `${share * wide + 8}px` : "auto";
  tip.style.right = share < 0.6 ? "auto" : `${(1 - share) * wide + 8}px`;
}
function leaveChart(area) { $$(".hair, .tip", area).forEach((each) => each.remove()); }
document.addEventListener("pointermove", (event) => {
  const area = event.target.closest?.("[data-plot]");
  for (const other of $$("[data-plot]")) if (other !== area && other !== document.activeElement) leaveChart(other);
  if (!area) return;
  readChart(area, placeIn(area, event));
  if (dragged?.area === area) pick(area, dragged.first, placeIn(area, event));
});
document.addEventListener("focusout", (event) => event.target.matches?.("[data-plot]") && leaveChart(event.target));

// A time is selected by a click, a drag, or Shift and the arrow keys. Below it stand the lists of its jobs.
let dragged = null;
function placeIn(area, event) {
  const box = area.getBoundingClientRect(), rows = $$("tbody tr", area.closest(".chart")).length;
  return Math.max(0, Math.min(rows - 1, Math.floor(((event.clientX - box.left) / box.width) * rows)));
}
function unpick() { $$(".band, .picked").forEach((each) => each.remove()); }
function pick(area, first, place) {
  const table = $("table[data-begins]", area.closest(".chart"));
  if (!table) return;
  const rows = $$("tbody tr", table), [a, b] = [Math.min(first, place), Math.max(first, place)];
  if (!$(".band", area)) {
    unpick();
    area.append(document.createElement("span"));
    area.lastChild.className = "band";
    const bar = document.createElement("p");
    bar.className = "picked";
    bar.setAttribute("role", "status");
    area.parentElement.after(bar);
  }
  area.dataset.first = first;
  const band = $(".band", area), bar = $(".picked", area.closest(".chart"));
  band.style.left = `${(100 * a) / rows.length}%`;
  band.style.width = `${(100 * (b - a + 1)) / rows.length}%`;
  const at = (n) => `=${new Date(Date.parse(table.dataset.begins) + n * 1000 * table.dataset.step).toISOString().slice(0, 16)}Z`;
  const links = $$("thead th", table).map((th, column) => {
    if (!th.dataset.jobs) return "";
    const link = document.createElement("a");
    const sum = rows.slice(a, b + 1).reduce((all, row) => all + Number(row.cells[column].textContent.replaceAll(",", "")), 0);
    link.href = th.dataset.jobs.replace("=FROM", at(a)).replace("=TO", at(b + 1));
    link.textContent = th.dataset.label ?? `${th.textContent} ${Number.isNaN(sum) ? "" : sum.toLocaleString("en")}`;
    return link;
  });
  const time = (row) => $("a", row)?.textContent ?? "now", close = document.createElement("button");
  close.type = "button"; close.className = "plain slim"; close.textContent = "×";
  close.setAttribute("aria-label", "Select no time"); close.addEventListener("click", unpick);
  bar.replaceChildren(`${time(rows[a])} to ${time(rows[b + 1])}:`, ...links.filter(Boolean), close);
}
document.addEventListener("pointerdown", (event) => {
  const area = event.target.closest?.("[data-plot]");
  if (!area || event.button) return;
  dragged = { area, first: placeIn(area, event) };
  area.setPointerCapture(event.pointerId);
});
document.addEventListener("pointerup", (event) => {
  if (dragged) pick(dragged.area, dragged.first, placeIn(dragged.area, event));
  dragged = null;
});
document.addEventListener("pointercancel", () => { if (dragged) unpick(); dragged = null; });

// Selection -----------------------------------------------------------------------------------------------------------
document.addEventListener("haulier:selected", ({ detail: n }) => { const said = $("[data-ticked]"); if (said) said.textContent = n ? `${n} selected.` : said.dataset.ticked; });
let last = null;
document.addEventListener("change", (event) => {
  const box = event.target;
  if (!box.matches("main table input[type=checkbox]")) return;
  const table = box.closest("table"), boxes = $$("tbody input[type=checkbox]", table);
  if (box.closest("thead")) boxes.forEach((each) => (each.checked = box.checked));
  boxes.forEach((each) => each.closest("tr").setAttribute("aria-selected", String(each.checked)));
  const n = boxes.filter((each) => each.checked).length, all = $("thead input", table);
  all.checked = n === boxes.length; all.indeterminate = n > 0 && n < boxes.length;
  document.dispatchEvent(new CustomEvent("haulier:selected", { detail: n }));
});
document.addEventListener("click", (event) => {
  const box = event.target;
  if (!box.matches("tbody input[type=checkbox]")) return;
  const boxes = $$("input[type=checkbox]", box.closest("tbody"));
  if (event.shiftKey && last && boxes.includes(last)) {
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
    for (const each of boxes.slice(from, to + 1)) each.checked = box.checked;
  }
  last = box;
});

// Keys ----------------------------------------------------------------------------------------------------------------
let afterG = 0;
document.addEventListener("keydown", (event) => {
  const at = event.target, area = at.closest?.("[data-plot]");
  if (area && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
    const rows = $$("tbody tr", area.closest(".chart")).length, now = Number(area.dataset.place ?? rows - 1);
    readChart(area, { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: rows - 1 }[event.key]);
    if (event.shiftKey) pick(area, $(".band", area) ? Number(area.dataset.first) : now, Number(area.dataset.place));
    return event.preventDefault();
  }
  if (area && event.key === "Enter") {
    const now = Number(area.dataset.place ?? 0);
    if (!$(".band", area)) pick(area, now, now);
    $(".picked a", area.closest(".chart"))?.focus();
    return event.preventDefault();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || at.isContentEditable) return;
  if (at.matches("input:not([type=checkbox]), select, textarea")) return event.key === "Escape" && at.blur();
  if (document.documentElement.hasAttribute("data-no-keys")) return;
  const place = Date.now() - afterG < 1500 && /^[a-z]$/.test(event.key) && $(`.rail a[data-go="${event.key}"]`);
  if (place) {
    afterG = 0;
    place.click();
    return event.preventDefault();
  }
  const row = $("tr.at"), rows = $$("main tbody tr:has(a)");
  const go = (step) => {
    const next = rows[row ? Math.max(0, Math.min(rows.length - 1, rows.indexOf(row) + step)) : 0];
    row?.classList.remove("at"); next?.classList.add("at"); $("a", next)?.focus(); next?.scrollIntoView({ block: "nearest" });
  };
  const keys = {
    g: () => (afterG = Date.now()), "/": () => $("#q")?.focus(), l: () => live.button?.click(), t: () => $("[data-theme-toggle]")?.click(),
    j: () => go(1), k: () => go(-1), x: () => row && $("input[type=checkbox]", row)?.click(), a: () => $("thead input[type=checkbox]")?.click(),
    Escape: () => leaveAll(), "?": () => $("a[data-help]")?.click(), y: () => $("[data-copy-id]")?.click(),
    "[": () => $("a[rel=prev]")?.click(), "]": () => $("a[rel=next]")?.click(), X: () => row && $("input[type=checkbox]", row)?.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true })),
    b: () => $(".bulk label input, .bulk button")?.focus(), T: () => { document.documentElement.toggleAttribute("data-exact"); tellTimes(); },
  };
  if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
});
function leaveAll() { unpick(); $$("[data-plot]").forEach(leaveChart); }

// Copy: also over plain HTTP, which has no clipboard API -----------------------------------------------
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy || $(button.dataset.copyOf)?.textContent || "";
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const box = document.createElement("textarea");
    box.value = text; document.body.append(box); box.select(); document.execCommand("copy"); box.remove();
  }
  button.dataset.done = "";
  const said = $("#said");
  if (said) { said.textContent = "Copied."; said.hidden = false; }
});

if (main) {
  show(stored("Live") === "off" ? "paused" : "live");
  schedule();
}
