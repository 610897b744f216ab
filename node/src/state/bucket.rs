//! Namespaces map to buckets by a hash, buckets to groups by a table in the state (DESIGN, section
//! 2).

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::GroupId;

/// How many buckets there are; part of the format, never changed.
pub const BUCKET_COUNT: u32 = 1024;

/// The bucket of a namespace; part of the format, never changed.
#[must_use]
pub fn bucket_of(namespace: &str) -> u32 {
    let bucket = xxh3_64(namespace.as_bytes()) % u64::from(BUCKET_COUNT);
    u32::try_from(bucket).expect("a remainder of BUCKET_COUNT fits")
}

/// The table a cluster starts with: buckets dealt out to the groups in turn.
#[must_use]
pub fn default_table(groups: u32) -> Vec<GroupId> {
    (0..BUCKET_COUNT)
        .map(|bucket| bucket % groups.max(1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_part_of_the_format() {
        assert_eq!(bucket_of("/"), 558);
        assert_eq!(bucket_of("/chat"), 63);
    }

    #[test]
    fn the_default_table_uses_every_group() {
        let table = default_table(4);
        assert_eq!(table.len(), 1024);
        assert_eq!(table[..5], [0, 1, 2, 3, 0]);
        assert!(default_table(0).iter().all(|&group| group == 0));
    }
}
