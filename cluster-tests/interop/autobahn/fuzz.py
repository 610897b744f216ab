"""Autobahn's WebSocket suite against the gateway: Python 2.7, which is all that it runs on.

The suite wants a server that echoes every message. The gateway speaks Engine.IO, so the suite's
client is taught two things, and nothing between the two has to be trusted: a text message carries
the packet type `4` before its first byte, both ways, and the open packet is no message. Binary
messages, control frames and everything malformed are as the suite sends them.

    python2.7 fuzz.py PACKAGES URL OUT_DIR [CASE...]

Ends with a table, and with 1 when a case does not pass that EXPLAINED does not name.
"""
from __future__ import print_function

import site
import sys

site.addsitedir(sys.argv[1])

from twisted.internet import reactor  # noqa: E402
from autobahntestsuite import fuzzing  # noqa: E402

TEXT = 1
PACKET_TYPE = b"4"
OPEN_PACKET = b"0{"
PASSES = ("OK", "INFORMATIONAL")

# Cases that do not pass, by the beginning of their number: how they end, and why.
LAST_PONG = ("FAILED/OK", "a pong not yet written gives way to a newer one (RFC 6455, 5.5.3)")
WHOLE_TEXT = ("NON-STRICT/OK", "text is judged as UTF-8 when the message is whole, not before")
FRAGMENTS = ("FAILED/FAILED", "more than 16,384 frames of one message (limits.rs, FRAGMENTS_MAX)")
NO_DEFLATE = ("UNIMPLEMENTED/OK", "per-message deflate is not offered: tungstenite carries none")
EXPLAINED = {
    "2.10": LAST_PONG,
    "2.11": LAST_PONG,
    "6.4": WHOLE_TEXT,
    "9.3.1": FRAGMENTS,
    "9.3.2": FRAGMENTS,
    "9.4.1": FRAGMENTS,
    "9.4.2": FRAGMENTS,
    "12": NO_DEFLATE,
    "13": NO_DEFLATE,
}


class Session(fuzzing.FuzzingClientProtocol):
    """The suite's client as an Engine.IO client."""

    begins_text = False

    def onMessage(self, message, binary):
        if binary:
            return fuzzing.FuzzingClientProtocol.onMessage(self, message, binary)
        if message.startswith(OPEN_PACKET):
            return None
        assert message.startswith(PACKET_TYPE), repr(message[:20])
        return fuzzing.FuzzingClientProtocol.onMessage(self, message[1:], binary)

    def sendFrame(self, opcode, payload=b"", payload_len=None, **rest):
        if opcode == TEXT:
            payload = PACKET_TYPE + payload
            if payload_len is not None:
                payload_len += 1
        fuzzing.FuzzingClientProtocol.sendFrame(
            self, opcode, payload=payload, payload_len=payload_len, **rest)

    def beginMessage(self, isBinary=False, **rest):
        self.begins_text = not isBinary
        fuzzing.FuzzingClientProtocol.beginMessage(self, isBinary, **rest)

    def beginMessageFrame(self, length):
        begins, self.begins_text = self.begins_text, False
        fuzzing.FuzzingClientProtocol.beginMessageFrame(self, length + begins)
        if begins:
            self.sendMessageFrameData(PACKET_TYPE)


class Sessions(fuzzing.FuzzingClientFactory):
    def buildProtocol(self, address):
        # The suite's own makes its own class by name; another class of it needs no other fields.
        protocol = fuzzing.FuzzingClientFactory.buildProtocol(self, address)
        protocol.__class__ = Session
        return protocol


def explanation(case, verdict):
    parts = case.split(".")
    prefixes = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    known = [EXPLAINED[prefix] for prefix in prefixes if prefix in EXPLAINED]
    return next((why for expected, why in known if expected == verdict), None)


def report(results):
    """Prints every case that does not pass, and families; answers how many are not explained."""
    families, unexplained = {}, 0
    for case in sorted(results, key=lambda case: [int(part) for part in case.split(".")]):
        result = results[case]
        outcome = (result["behavior"], result["behaviorClose"])
        verdict = "pass" if all(part in PASSES for part in outcome) else "/".join(outcome)
        family = families.setdefault(int(case.split(".")[0]), {})
        family[verdict] = family.get(verdict, 0) + 1
        if verdict == "pass":
            continue
        why = explanation(case, verdict)
        unexplained += why is None
        if why is None or not case.startswith(("12.", "13.")):
            why = why or "NOT EXPLAINED, " + result["result"] + " " + result["resultClose"]
            print("%-7s %s, close code %s: %s" % (case, verdict, result["remoteCloseCode"], why))
    for family in sorted(families):
        verdicts = ", ".join("%s %d" % item for item in sorted(families[family].items()))
        print("family %d: %s" % (family, verdicts))
    print("%d cases, %d without explanation" % (len(results), unexplained))
    return unexplained


def main():
    url, out_dir, cases = sys.argv[2], sys.argv[3], sys.argv[4:] or ["*"]
    spec = {
        "outdir": out_dir,
        "servers": [{"agent": "roomcast", "url": url, "options": {"version": 18}}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    factory = Sessions(spec)
    reactor.run()
    sys.exit(1 if report(factory.agents["roomcast"]) else 0)


main()
