// Plays the demo behind a backend of its own in headless Chromium, and kills the backend.
//
//   node backend.mjs --bin PATH --python PATH [--out FILE.png]
//
// It starts `roomcast dev` on free ports and node/examples/python/chat.py, which dials one of the
// nodes. Two windows talk and whisper; then the backend is killed with SIGKILL in the middle of a
// conversation and started again at another node. It exits 0 only when no window noticed: no
// connection was lost, and both show the same lines in the same order, each once.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { connect, openWindow, startChromium, startCluster, until } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    bin: { type: "string" },
    python: { type: "string" },
    out: { type: "string" },
  },
});

const PROGRAM = fileURLToPath(new URL("../examples/python/chat.py", import.meta.url));
const SIZE = { width: 1060, height: 720 };
const MEANWHILE = ["Is anybody serving us?", "Nobody. I keep my line.", "There it is."];

// Its first word is that it serves.
async function startBackend(port, node) {
  const address = `127.0.0.1:${port + 1000 + node}`;
  const stdio = ["ignore", "pipe", "inherit"];
  const child = spawn(options.python, [PROGRAM, address], { stdio });
  let said = "";
  child.stdout.on("data", (text) => {
    said += text;
  });
  await until("a backend that serves", () => said.includes("serving"));
  return child;
}

async function kill(child) {
  child.kill("SIGKILL");
  await once(child, "exit");
}

async function sees(window, line) {
  await until(`a window shows "${line}"`, async () => (await window.lines()).includes(line));
}

const notes = (window) =>
  window.run("[...document.querySelectorAll('#lines .note')].map((e) => e.textContent)");

async function play(chromium, { url, port, backend }) {
  const address = (nick) => `${url}/?namespace=/chat&room=tea&nick=${nick}`;
  const ada = await openWindow(chromium, SIZE, address("Ada"));
  const grace = await openWindow(chromium, SIZE, address("Grace"));
  const windows = [ada, grace];
  await ada.say("Who serves us?");
  await sees(grace, "Who serves us?");
  await grace.say("A hundred lines of Python.");
  await sees(ada, "A hundred lines of Python.");
  await ada.say("@Grace Shall I kill it?");
  await until("a whisper", async () => (await notes(grace)).includes("Ada: Shall I kill it?"));
  await kill(backend.child);
  await ada.say(MEANWHILE[0]);
  await grace.say(MEANWHILE[1]);
  backend.child = await startBackend(port, 2);
  await ada.say(MEANWHILE[2]);
  for (const window of windows) for (const line of MEANWHILE) await sees(window, line);
  const claims = await judge(ada, grace);
  await grace.run(`document.getElementById("nick").value = "?";
    document.getElementById("nick-form").requestSubmit()`);
  const refused = "The server refused the connection: choose a name of 1 to 24 letters";
  await until("a refused name", async () => (await grace.text("banner")) === refused);
  return { ada, claims };
}

async function judge(ada, grace) {
  const [first, second] = [await ada.lines(), await grace.lines()];
  const calm = async (window) => (await window.run("document.body.dataset.state")) === "live";
  const noticed = [...(await notes(ada)), ...(await notes(grace))].filter((note) =>
    /lost|Recovered|Back|refused|not written/.test(note),
  );
  return {
    "both windows show the same lines in the same order": first.join("\n") === second.join("\n"),
    "every line was shown once": first.length === 2 + MEANWHILE.length,
    "no connection was lost": (await calm(ada)) && (await calm(grace)) && noticed.length === 0,
    "nothing lost, doubled or out of order": (await ada.text("faults")) === "0 · 0 · 0",
  };
}

async function main() {
  const cluster = await startCluster(options.bin);
  const browser = await startChromium();
  const port = Number(new URL(cluster.url).port);
  const backend = { child: await startBackend(port, 1) };
  try {
    const chromium = await connect(browser.address);
    const { ada, claims } = await play(chromium, { url: cluster.url, port, backend });
    if (options.out) writeFileSync(options.out, await ada.shoot());
    const broken = Object.keys(claims).filter((claim) => !claims[claim]);
    for (const claim of broken) console.log(`backend: FAILED  ${claim}`);
    const passed = Object.keys(claims).length - broken.length;
    console.log(`backend: ${passed} passed, ${broken.length} failed`);
    await chromium.call("Browser.close");
    process.exitCode = broken.length ? 1 : 0;
  } finally {
    await kill(backend.child);
    await browser.stop();
    await cluster.stop();
  }
}

await main();
