// The page's word "0 · 0 · 0" is worth what this check finds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checker } from "./checker.js";

function faults(...lines) {
  const check = checker();
  return lines.map(([sender, seq, again = false]) => check({ sender, seq }, again));
}

test("a reader may join anywhere, and senders are counted apart", () => {
  assert.deepEqual(faults(["a", 7], ["b", 1], ["a", 8], ["b", 2]), [null, null, null, null]);
});

test("a gap is that many lines lost", () => {
  assert.deepEqual(faults(["a", 1], ["a", 4]), [null, { kind: "lost", count: 2 }]);
});

test("the same number or the same offset again is doubled", () => {
  const doubled = { kind: "doubled", count: 1 };
  assert.deepEqual(faults(["a", 1], ["a", 1]), [null, doubled]);
  assert.deepEqual(faults(["a", 1], ["a", 2], ["a", 1, true]), [null, null, doubled]);
});

test("an older line that comes later is out of order", () => {
  const seen = faults(["a", 1], ["a", 3], ["a", 2]);
  assert.deepEqual(seen, [null, { kind: "lost", count: 1 }, { kind: "disordered", count: 1 }]);
});
