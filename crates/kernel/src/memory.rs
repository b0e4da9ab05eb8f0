//! What the process keeps of memory that it no longer uses.
//!
//! A big cluster is listed, and a big table read back, once; what that took should not stay with the process for good.

/// Allocations from this size on are mappings of their own, which go back as soon as they are freed. glibc begins at the same size and
/// then raises it to whatever was freed last, up to 32 MB, after which big buffers and tables stay in its heaps.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 << 10;

/// Settles how the allocator treats big blocks; call before there are any. Other C libraries do so by themselves.
pub fn return_big_blocks() {
    // SAFETY: mallopt(3) takes two integers and changes only the allocator's own parameters.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives what is free back to the kernel: after a first list or a read-back. Takes some ms for each 100 MB.
pub fn give_back() {
    // SAFETY: malloc_trim(3) takes an integer and touches free memory only.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
