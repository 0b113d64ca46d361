//! How much of what was freed the process keeps.

/// Arenas of the allocator. One for each thread, which is the default, keeps tens of megabytes that nobody uses: a
/// mount has many threads that each allocate now and then.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// From how many bytes on an allocation is a mapping of its own, which grows without being copied and goes back to the
/// system when it is freed. Left alone, the bound rises to 32 MiB with the first tree that is freed, and later ones leave
/// holes: a million entries took 260 MiB at the peak instead of 210. Above the buffers of reads, which come and go.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 4 << 20;

/// How much may lie free at the end of an arena before it goes back to the system. With the default of 128 KiB the buffer of
/// each long read went back, and the next one's pages had to be made anew.
#[cfg(target_env = "gnu")]
const FREE_AT_THE_END: libc::c_int = 4 << 20;

/// Bounds what glibc's allocator keeps; others are left alone.
pub(super) fn bound() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: mallopt takes two numbers and may be called at any time; a number it does not like changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_AT_THE_END);
    }
}
