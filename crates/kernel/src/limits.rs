//! Limits of this process. Source: getrlimit(2).

use crate::Errno;

/// Raises the soft limit of open files to the hard one: a server's connections are files, and the soft limit of 1,024 is kept low only
/// for programs that use select(2). Gives the limit that holds now.
pub fn raise_open_files() -> Result<u64, Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit to a live place.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(Errno::last());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit from a live place.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(Errno::last());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files().expect("allowed to everybody");
        assert_eq!(raise_open_files(), Ok(raised));
    }
}
