//! File systems on which locks and shared memory do not work between all processes that see the files.

use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::statfs::fstatfs;

use super::failure::Failure;

/// `f_type` of `statfs`, and a name.
const REFUSED: [(i64, &str); 22] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB2"),
    (0xFF53_4D42, "CIFS"),
    // virtiofs has the same number.
    (0x6573_5546, "FUSE or virtiofs"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x7461_636F, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0x786F_4256, "VirtualBox shared folder"),
    (0xBACB_ACBC, "VMware shared folder"),
    (0x7C7C_6673, "Parallels shared folder"),
    (0x0187, "automount"),
    (0x9FA0, "proc"),
];

/// The name of a file system that a store cannot be on.
fn refused(kind: i64) -> Option<&'static str> {
    // Some architectures sign-extend numbers of 32 bits.
    REFUSED.iter().find(|(number, _)| *number == kind & 0xFFFF_FFFF).map(|(_, name)| *name)
}

/// Those that people usually have. A store may be on any that is not refused.
const USUAL: [(i64, &str); 7] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683E, "Btrfs"),
    (0x2FC1_2FC1, "ZFS"),
    (0xF2F5_2010, "F2FS"),
    (0x0102_1994, "tmpfs"),
    (0x794C_7630, "overlay"),
];

/// The name of the file system of a folder, or its number.
pub(super) fn name(folder: impl AsFd, path: &Path) -> Result<String, Failure> {
    let kind = kind(folder, path)? & 0xFFFF_FFFF;
    let usual = USUAL.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name);
    Ok(usual.map_or_else(|| format!("of the kind 0x{kind:x}"), str::to_owned))
}

fn kind(folder: impl AsFd, path: &Path) -> Result<i64, Failure> {
    let statfs = fstatfs(folder).map_err(|error| Failure::of_system(path, &error.into()))?;
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "its type depends on the architecture")]
    Ok(statfs.filesystem_type().0 as i64)
}

pub(super) fn check(folder: impl AsFd, path: &Path) -> Result<(), Failure> {
    refused(kind(folder, path)?).map_or(Ok(()), |name| {
        Err(Failure::denied(format!(
            "the local store at {} is on a file system of another kind ({name}), which other machines may share; \
            use a folder on a disk of this machine, or Redis",
            path.display()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_and_those_of_a_disk_are_not() {
        for kind in [0x6969, 0xFF53_4D42, 0x6573_5546, 0x0102_1997, 0x00C3_6400, -11_317_950] {
            assert!(refused(kind).is_some(), "{kind:x}");
        }
        let (ext4, xfs, btrfs, tmpfs, overlay) = (0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630);
        for kind in [ext4, xfs, btrfs, tmpfs, overlay] {
            assert_eq!(refused(kind), None, "{kind:x}");
        }
    }
}
