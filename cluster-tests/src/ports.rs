//! Ports that stay ours while a node is down: blocks below the ephemeral range, each guarded by a
//! listener that is held as long as the block, so that neither another test nor an outgoing
//! connection of the kernel's choice takes a port between a kill and the restart.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng;

/// Ports of one block, the guard's own included.
const BLOCK: u16 = 16;
/// First port of the range that is searched.
const LOWEST: u16 = 11_000;
/// End of that range: with the 2,000 that `dev` adds it stays below Linux's ephemeral ports.
const HIGHEST: u16 = 29_000;
/// Blocks tried before giving up.
const ATTEMPTS: usize = 2_000;

/// A block of loopback ports; freed on drop.
#[derive(Debug)]
pub struct PortBlock {
    /// Held, never accepted from: its port is the claim on the block.
    _guard: TcpListener,
    /// The guard's port; those of the user follow it.
    base: u16,
}

impl PortBlock {
    /// Claims a block all of whose ports are free now.
    ///
    /// # Errors
    /// When no free block is found.
    pub fn claim() -> io::Result<Self> {
        Self::claim_with(&[])
    }

    /// Claims a block whose ports plus each of `offsets` are free as well, as `roomcast dev` needs.
    ///
    /// # Errors
    /// When no free block is found.
    pub fn claim_with(offsets: &[u16]) -> io::Result<Self> {
        let blocks = (HIGHEST - LOWEST) / BLOCK;
        for _ in 0..ATTEMPTS {
            let base = LOWEST + BLOCK * rand::rng().random_range(0..blocks);
            let Ok(guard) = TcpListener::bind(loopback(base)) else {
                continue;
            };
            let mut wanted = (1..BLOCK).map(|slot| base + slot);
            let free = |port: u16| TcpListener::bind(loopback(port)).is_ok();
            if wanted.all(|port| free(port) && offsets.iter().all(|more| free(port + more))) {
                return Ok(Self {
                    _guard: guard,
                    base,
                });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "no free block of ports",
        ))
    }

    /// The address of a slot, 1 to 15.
    ///
    /// # Panics
    /// When the slot is not in the block.
    #[must_use]
    pub fn addr(&self, slot: u16) -> SocketAddr {
        assert!(
            (1..BLOCK).contains(&slot),
            "slot {slot} is outside the block"
        );
        loopback(self.base + slot)
    }
}

/// 127.0.0.1 with a port.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_block_is_not_given_twice_and_its_ports_can_be_bound() {
        let blocks: Vec<PortBlock> = (0..50).map(|_| PortBlock::claim().unwrap()).collect();
        let mut bases: Vec<u16> = blocks.iter().map(|block| block.base).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), 50);
        TcpListener::bind(blocks[0].addr(1)).unwrap();
    }
}
