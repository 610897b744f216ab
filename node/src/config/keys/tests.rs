use super::*;

#[test]
fn names_are_unique_and_derived_from_the_flag() {
    for (i, key) in KEYS.iter().enumerate() {
        assert!(
            KEYS.iter().skip(i + 1).all(|other| other.flag != key.flag),
            "{}",
            key.flag
        );
    }
    let retention = Key::find("retention-bytes").expect("in the table");
    assert_eq!(retention.variable(), "ROOMCAST_RETENTION_BYTES");
    assert_eq!(retention.path(), "cluster.retention_bytes");
    assert_eq!(
        Key::find("node-id").expect("in the table").path(),
        "node_id"
    );
}
