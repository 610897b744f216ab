//! Packets as literal text, both ways.

use super::*;

#[test]
fn packets_are_read_as_the_protocol_writes_them() {
    let cases = [
        ("40", ('0', "/", None, json!(null), 0)),
        (
            r#"40/a,{"sid":"x"}"#,
            ('0', "/a", None, json!({"sid": "x"}), 0),
        ),
        (r#"42["e",1]"#, ('2', "/", None, json!(["e", 1]), 0)),
        (r#"42/a,17["e"]"#, ('2', "/a", Some(17), json!(["e"]), 0)),
        (r#"451-["e",{}]"#, ('5', "/", None, json!(["e", {}]), 1)),
        ("41/a", ('1', "/a", None, json!(null), 0)),
    ];
    for (text, (kind, namespace, id, data, attachment_count)) in cases {
        let namespace = namespace.to_owned();
        let expected = Packet {
            kind,
            namespace,
            id,
            data,
            attachment_count,
        };
        assert_eq!(Packet::parse(text), Some(expected), "{text}");
    }
    for bad in ["", "2", "47", "5", "45[]", "42[", "42x"] {
        assert_eq!(Packet::parse(bad), None, "{bad}");
    }
}

#[test]
fn binary_arguments_become_attachments_and_come_back() {
    let args = [json!(1), json!({ BINARY: "00ff" })];
    let (text, attachments) = event("/a", Some(3), "e", &args);
    assert_eq!(text, r#"451-/a,3["e",1,{"_placeholder":true,"num":0}]"#);
    let mut packet = Packet::parse(&text).unwrap();
    let attachments: Vec<Bytes> = attachments.into_iter().map(Bytes::from).collect();
    put_attachments(&mut packet.data, &attachments);
    assert_eq!(packet.data, json!(["e", 1, { BINARY: "00ff" }]));
}
