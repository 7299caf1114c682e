//! Modes: the format stores Go's `os.FileMode`, the rest of drctl speaks Unix.

use super::node::NodeKind;

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// Bits beyond the permissions: Unix on the left, Go on the right.
const SPECIAL: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// Go's file mode of a node of this kind with these Unix permission bits (0o7777; others are ignored).
pub fn go_mode(kind: NodeKind, mode: u32) -> u32 {
    let kind = match kind {
        NodeKind::File => 0,
        NodeKind::Dir => DIR,
        NodeKind::Symlink => SYMLINK,
        NodeKind::Dev => DEVICE,
        NodeKind::CharDev => DEVICE | CHAR_DEVICE,
        NodeKind::Fifo => FIFO,
        NodeKind::Socket => SOCKET,
    };
    SPECIAL.iter().filter(|(unix, _)| mode & unix != 0).fold(kind | mode & 0o777, |all, (_, go)| all | go)
}

/// The Unix permission bits (0o7777) of a Go file mode; what it says about the kind is dropped.
pub fn unix_mode(go_mode: u32) -> u32 {
    SPECIAL.iter().filter(|(_, go)| go_mode & go != 0).fold(go_mode & 0o777, |all, (unix, _)| all | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unix_mode_comes_back() {
        for mode in 0..=0o7777 {
            for kind in NodeKind::ALL {
                assert_eq!(unix_mode(go_mode(kind, mode)), mode);
            }
        }
    }

    #[test]
    fn modes_are_those_that_restic_stores() {
        assert_eq!(go_mode(NodeKind::File, 0o644), 420);
        assert_eq!(go_mode(NodeKind::Dir, 0o755), 2_147_484_141);
        assert_eq!(go_mode(NodeKind::Symlink, 0o777), 134_218_239);
        assert_eq!(go_mode(NodeKind::Dir, 0o1777), 2_148_532_735);
        assert_eq!(go_mode(NodeKind::CharDev, 0o666), 69_206_454);
    }
}
