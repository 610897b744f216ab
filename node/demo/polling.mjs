// Chats over long-polling alone, in headless Chromium, while nodes are killed; counts what went wrong.
//
//   node polling.mjs --bin PATH [--minutes 5] [--kills 3] [--transports polling] [--out FILE.png]
//
// It starts `roomcast dev` on free ports: the balancer sends every request to the next node. Three
// windows write a numbered line every half second. Meanwhile the node of one window after the other
// is killed with SIGKILL, and `dev` starts it again. It exits 0 only when each window then shows what
// all of them wrote, in the same order, with nothing lost, doubled or out of order by the page's own
// count, and every return was a recovered one.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { connect, openWindow, pause, startChromium, startCluster, until } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    bin: { type: "string" },
    minutes: { type: "string", default: "5" },
    kills: { type: "string", default: "3" },
    transports: { type: "string", default: "polling" },
    out: { type: "string" },
  },
});

const SIZE = { width: 1060, height: 720 };
const NICKS = ["Ada", "Grace", "Edsger"];
// After the last line was sent; a node that was just killed may still be missing.
const CALM_MS = 60000;

const number = async (window, id) => Number(await window.text(id));

// What each window has written, by the last number of its ticker that came back from the log.
async function written(window) {
  const lines = await window.run(`[...document.querySelectorAll("#lines li[data-how]")].map((e) =>
    [e.querySelector(".who").textContent, e.querySelector(".what").textContent])`);
  const last = new Map();
  for (const [nick, text] of lines) last.set(nick, Number(/^number (\d+)$/.exec(text)?.[1]));
  return NICKS.reduce((sum, nick) => sum + (last.get(nick) ?? 0), 0);
}

async function openWindows(chromium, url) {
  const windows = [];
  for (const nick of NICKS) {
    const query = `nick=${nick}&room=poll&transports=${options.transports}`;
    windows.push(await openWindow(chromium, SIZE, `${url}/?${query}`));
  }
  for (const window of windows) {
    await until("all members", async () => (await number(window, "member-count")) === NICKS.length);
  }
  return windows;
}

// The times of the kills are spread over the run, so that the last one is over before its end.
async function chat(windows) {
  const lengthMs = Number(options.minutes) * 60000;
  const kills = Number(options.kills);
  for (const window of windows) await window.click("ticker");
  for (let kill = 0; kill < kills; kill += 1) {
    await pause(lengthMs / (kills + 1));
    const victim = windows[kill % windows.length];
    const [node, pid] = [await victim.node(), await victim.pid()];
    process.kill(pid, "SIGKILL");
    console.log(`polling: killed ${node} (pid ${pid}), where ${NICKS[kill % NICKS.length]} was`);
  }
  await pause(lengthMs / (kills + 1));
  for (const window of windows) await window.click("ticker");
}

async function judge(windows) {
  // The ticker is silent; what is still queued in a window goes out and comes back.
  const settled = async () => {
    const counts = await Promise.all(windows.map((window) => number(window, "events")));
    const sums = await Promise.all(windows.map(written));
    const pending = await Promise.all(windows.map((window) => window.text("pending")));
    const quiet = pending.every((text) => !/\d/.test(text));
    return quiet && counts.every((count) => count === counts[0] && count === sums[0]);
  };
  const calm = await until("all windows have the same", settled, CALM_MS).catch(() => false);
  const order = await Promise.all(windows.map(async (window) => (await window.lines()).join()));
  let good = calm && order.every((lines) => lines === order[0]);
  if (!good) console.log("polling: FAILED  the windows do not show the same");
  for (const [index, window] of windows.entries()) {
    const [events, faults] = [await number(window, "events"), await window.text("faults")];
    const [replayed, banner] = [await number(window, "replayed"), await window.text("banner")];
    const wrote = await written(window);
    const transport = / over (\w+)$/.exec(await window.text("status"))?.[1] ?? "websocket";
    const allowed = options.transports.split(",").includes(transport);
    const clean = faults === "0 · 0 · 0" && !banner.startsWith("Back") && allowed;
    if (!clean) console.log(`polling: FAILED  ${NICKS[index]}`);
    good &&= clean;
    console.log(`polling: ${NICKS[index]}: ${events} events of ${wrote} written, ${replayed} of ` +
      `them replayed, over ${transport}; lost · doubled · swapped ${faults}; ` +
      `${banner || "never away"}`);
  }
  return good;
}

const cluster = await startCluster(options.bin);
const browser = await startChromium();
try {
  const chromium = await connect(browser.address);
  const windows = await openWindows(chromium, cluster.url);
  await chat(windows);
  const good = await judge(windows);
  if (options.out) writeFileSync(options.out, await windows[0].shoot());
  await chromium.call("Browser.close");
  console.log(`polling: ${good ? "passed" : "failed"}`);
  process.exitCode = good ? 0 : 1;
} finally {
  await browser.stop();
  await cluster.stop();
}
