// Plays the demo in headless Chromium, checks what the page promises, and takes README's picture.
//
//   node screenshot.mjs --bin PATH | --url http://127.0.0.1:3000 [--out FILE.png] [--kill] [--dark]
//
// With --bin it starts `roomcast dev` by itself on free ports, with data of its own, and ends it.
// Two windows on two nodes talk; then the second one's connection is cut or, with --kill, its
// node's process is killed with SIGKILL (the pid that the page shows: a node of `roomcast dev` on
// this machine). It exits 0 only when both windows then show the same lines in the same order, the
// second one was recovered, and no line was lost, doubled or out of order.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { connect, openWindow, startChromium, startCluster, until } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:3000" },
    bin: { type: "string" },
    out: { type: "string" },
    kill: { type: "boolean", default: false },
    dark: { type: "boolean", default: false },
  },
});

const WIDE = { width: 1060, height: 720 };
const NARROW = { width: 380, height: 720 };
const TALK = [
  [0, "Morning! Which node did the balancer give you?"],
  [1, "Not yours. There is no sticky session."],
  [0, "And if somebody kills it?"],
  [1, "Try me. I will not miss a line."],
];
const WHILE_AWAY = ["kill -9. Are you there?", "No? I go on talking.", "One more, to be sure."];
const AFTER = [1, "Back, with the same session. I got all three."];

async function sees(window, line) {
  await until(`a window shows "${line}"`, async () => (await window.lines()).includes(line));
}

// The page asks for the members every two seconds.
async function bothAreMembers(windows) {
  for (const window of windows) {
    await until("two members", async () => (await window.text("member-count")) === "2");
  }
}

// A room of its own, so that an earlier run's lines are not in the picture.
async function play(chromium, url) {
  const room = `tea-${Date.now().toString(36).slice(-4)}`;
  const address = (nick) => `${url}/?nick=${nick}&room=${room}`;
  const ada = await openWindow(chromium, NARROW, address("Ada"), options.dark);
  const grace = await openWindow(chromium, WIDE, address("Grace"), options.dark);
  await until("two windows on two nodes", async () => {
    if ((await ada.node()) !== (await grace.node())) return true;
    await grace.load(address("Grace"));
    return false;
  });
  const windows = [ada, grace];
  await bothAreMembers(windows);
  for (const [who, line] of TALK) {
    await windows[who].say(line);
    for (const window of windows) await sees(window, line);
  }
  const before = await grace.node();
  if (options.kill) process.kill(await grace.pid(), "SIGKILL");
  else await grace.click("cut");
  for (const line of WHILE_AWAY) await ada.say(line);
  for (const window of windows) await sees(window, WHILE_AWAY.at(-1));
  await until("the second window's verdict", async () =>
    /^(Recovered|Back)/.test(await grace.text("banner")),
  );
  await windows[AFTER[0]].say(AFTER[1]);
  for (const window of windows) await sees(window, AFTER[1]);
  await bothAreMembers(windows);
  return { ada, grace, before };
}

async function judge({ ada, grace, before }) {
  const [first, second] = [await ada.lines(), await grace.lines()];
  const claims = {
    "both windows show the same lines in the same order": first.join("\n") === second.join("\n"),
    "every line was shown once": first.length === TALK.length + WHILE_AWAY.length + 1,
    "the second window was recovered": (await grace.text("banner")).startsWith("Recovered"),
    "nothing lost, doubled or out of order": (await grace.text("faults")) === "0 · 0 · 0",
  };
  if (options.kill) claims["it came back on another node"] = before !== (await grace.node());
  const broken = Object.entries(claims)
    .filter(([, holds]) => !holds)
    .map(([claim]) => claim);
  for (const claim of broken) console.log(`page: FAILED  ${claim}`);
  console.log(`page: ${await grace.text("banner")}`);
  console.log(
    `page: ${Object.keys(claims).length - broken.length} passed, ${broken.length} failed`,
  );
  return broken.length === 0;
}

const image = (src, { width, height }) => `<img src="${src}" width="${width}" height="${height}"
  style="border-radius:12px;box-shadow:0 6px 24px #0004">`;

// Both windows beside each other on one ground.
async function compose(chromium, shots) {
  const [wide, narrow] = shots.map((png) => `data:image/png;base64,${png.toString("base64")}`);
  const gap = 28;
  const size = { width: WIDE.width + NARROW.width + 3 * gap, height: WIDE.height + 2 * gap };
  const sheet = await openWindow(chromium, size, "data:text/html,<body></body>");
  const ground = options.dark ? "#2a2752" : "#dcd8fb";
  await sheet.run(`document.body.style.cssText =
    "margin:0;display:flex;gap:${gap}px;padding:${gap}px;background:${ground}";
    document.body.innerHTML = ${JSON.stringify(image(wide, WIDE) + image(narrow, NARROW))}`);
  const loaded = "[...document.images].every((image) => image.complete && image.naturalWidth)";
  await until("the pictures", () => sheet.run(loaded));
  return sheet.shoot();
}

async function main() {
  const cluster = options.bin ? await startCluster(options.bin) : null;
  const url = cluster?.url ?? options.url;
  const browser = await startChromium();
  try {
    const chromium = await connect(browser.address);
    const scene = await play(chromium, url);
    const good = await judge(scene);
    if (options.out) {
      const shots = [await scene.grace.shoot(), await scene.ada.shoot()];
      writeFileSync(options.out, await compose(chromium, shots));
      console.log(`page: picture in ${options.out}`);
    }
    await chromium.call("Browser.close");
    process.exitCode = good ? 0 : 1;
  } finally {
    await browser.stop();
    await cluster?.stop();
  }
}

await main();
