// Every line carries its sender and its number in the room; whoever reads them sees each fault.

// A fresh check for one room. Give it each line as it comes, and whether its offset was seen
// before; it answers null, or one fault and how many lines it concerns.
export function checker() {
  const last = new Map();
  return (body, again) => {
    const before = last.get(body.sender);
    // Where a reader joins, a sender's numbers begin anywhere.
    if (before === undefined) {
      last.set(body.sender, body.seq);
      return null;
    }
    if (again || body.seq === before) return { kind: "doubled", count: 1 };
    if (body.seq < before) return { kind: "disordered", count: 1 };
    last.set(body.sender, body.seq);
    const gap = body.seq - before - 1;
    return gap > 0 ? { kind: "lost", count: gap } : null;
  };
}
