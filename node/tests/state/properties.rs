//! Random commands against the reference model; snapshots in the middle; batches repeated and out
//! of turn.

use proptest::prelude::*;
use roomcast::state::GroupState;

use crate::steps::{NAMESPACES, step};
use crate::world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn state_and_reference_model_agree(
        steps in prop::collection::vec(step(), 1..80),
        snapshot_at in 0..80usize,
        salt in 0..1000u64,
    ) {
        let mut world = World::new();
        let mut frozen = None;
        for (number, step) in steps.iter().enumerate() {
            if number == snapshot_at {
                let bytes = world.state.encode();
                let twin = GroupState::decode(&bytes).expect("its own snapshot");
                prop_assert_eq!(&twin, &world.state);
                prop_assert_eq!(twin.hash(), world.state.hash());
                world.twin = Some(twin);
                frozen = Some((world.state.clone(), bytes));
            }
            world.step(step);
            world.check(salt + number as u64);
        }
        if let Some(twin) = &world.twin {
            prop_assert_eq!(twin, &world.state);
            prop_assert_eq!(twin.encode(), world.state.encode());
        }
        if let Some((clone, bytes)) = frozen {
            prop_assert_eq!(clone.encode(), bytes, "a clone does not see later entries");
        }
    }

    #[test]
    fn a_report_of_all_is_as_good_as_a_word_of_each(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        world.plain = Some(world.state.clone());
        for step in &steps {
            world.step(step);
            let plain = world.plain.as_ref().expect("it was put there");
            for id in world.model.sessions.keys() {
                prop_assert_eq!(plain.cursor(id), world.state.cursor(id), "{}", id);
            }
            for namespace in NAMESPACES {
                let told = (plain.acknowledged(namespace), plain.floor(namespace));
                let known = (world.state.acknowledged(namespace), world.state.floor(namespace));
                prop_assert_eq!(told, known);
            }
        }
    }

    #[test]
    fn damaged_snapshots_never_panic(
        steps in prop::collection::vec(step(), 1..25),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let mut bytes = world.state.encode().to_vec();
        prop_assert!(GroupState::decode(&bytes[..at.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(state) = GroupState::decode(&bytes) {
            drop(state.encode());
        }
    }
}
