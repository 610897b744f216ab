//! Snapshots of earlier formats, as earlier builds wrote them, are still read.

use roomcast::state::{GroupState, Settings};

use crate::script;

/// Up to the table of buckets, without the magic word and the format's number.
const HEAD: &str = "04000107008008";
/// The settings of format 1; format 2 has `namespaces_max` behind them.
const SETTINGS: &str = "c0cf248080808001c0843dc0a907e0a712a08d06c0843de80780088827";
const NAMESPACES_MAX: &str = "904e";
/// Sessions 1 in `/a` and 2, away, in `/b`; two events in `/a`, one in `/b`; a key.
const TAIL: &str = "\
    0101010a02020103050002040200000000000002022f6100000000000000010201010101010101010101010101\
    010101016b7ba36206cd447070d9bc7839c65991f3030300031641514542415145424151454241514542415145\
    424151000001017100000001720000000203020001020201030300010102010101010101010101010101010101\
    010101010101010101010101010101010101010000010300010a00000300000002000300020300010171030003\
    04010302022f620000000000000000021641674943416749434167494341674943416749434167000001017a00\
    000001040100010101010202020202020202020202020202020201020202020202020202020202020202020000\
    010301010a01809c9c3900030100000100030100";

fn bytes(version: u8, settings: &str) -> Vec<u8> {
    let digits = format!("{HEAD}{}{settings}{TAIL}", "00".repeat(1024));
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal")
    };
    let head = [&b"RCGS"[..], &[version]].concat();
    head.into_iter()
        .chain(digits.as_bytes().chunks(2).map(byte))
        .collect()
}

#[test]
fn earlier_formats_have_the_defaults_of_what_they_lack() {
    for (version, more) in [(1, ""), (2, NAMESPACES_MAX)] {
        let old = bytes(version, &format!("{SETTINGS}{more}"));
        let state = GroupState::decode(&old).expect("an earlier format");
        assert_eq!(*state.settings(), Settings::DEFAULT);
        let counts = state.counts();
        assert_eq!((counts.connected, counts.away, counts.events), (1, 1, 3));
        let cursors = [1, 2].map(|number| state.cursor(&script::socket_id(number)));
        assert_eq!(
            cursors,
            ["3.0", "3.1"].map(|text| Some(script::position(text)))
        );
        // Each namespace has one session, and nobody has acknowledged anything yet.
        assert_eq!(state.acknowledged("/a"), cursors[0]);
        assert_eq!(state.acknowledged("/b"), cursors[1]);
        let new = state.encode();
        assert_eq!(new[4], 5);
        assert_eq!(GroupState::decode(&new), Ok(state));
    }
}
