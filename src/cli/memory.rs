//! How much of what was freed the process keeps.

/// Arenas of the allocator. One for each thread, which is the default, keeps tens of megabytes that nobody uses: a
/// mount has many threads that each allocate now and then.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Bounds the arenas of glibc's allocator; others are left alone.
pub(super) fn bound() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: mallopt takes two numbers and may be called at any time; a number it does not like changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
