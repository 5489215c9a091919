//! errno.h: what a hypercall returns, negated, when it fails.

numbers! {
    /// An error, by the names and numbers of Xen, which are Linux's too.
    Errno: i64 {
        XEN_EPERM EPERM = 1, "The caller may not.";
        XEN_ENOENT ENOENT = 2, "There is no such thing.";
        XEN_ESRCH ESRCH = 3, "There is no such domain.";
        XEN_EIO EIO = 5, "Input or output failed.";
        XEN_ENXIO ENXIO = 6, "No such address.";
        XEN_E2BIG E2BIG = 7, "More than can be asked at once.";
        XEN_ENOEXEC ENOEXEC = 8, "Not something that can be run.";
        XEN_EBADF EBADF = 9, "Not the right kind of object.";
        XEN_ECHILD ECHILD = 10, "No children.";
        XEN_EAGAIN EAGAIN = 11, "Ask again.";
        XEN_ENOMEM ENOMEM = 12, "Out of memory.";
        XEN_EACCES EACCES = 13, "Refused; of toolstack calls: another interface version.";
        XEN_EFAULT EFAULT = 14, "A pointer leads nowhere.";
        XEN_EBUSY EBUSY = 16, "In use.";
        XEN_EEXIST EEXIST = 17, "There already.";
        XEN_EXDEV EXDEV = 18, "Across devices.";
        XEN_ENODEV ENODEV = 19, "No such device.";
        XEN_ENOTDIR ENOTDIR = 20, "Not a directory.";
        XEN_EISDIR EISDIR = 21, "A directory.";
        XEN_EINVAL EINVAL = 22, "An argument makes no sense.";
        XEN_ENFILE ENFILE = 23, "Too many of them in all.";
        XEN_EMFILE EMFILE = 24, "Too many of them here.";
        XEN_ENOSPC ENOSPC = 28, "No room is left.";
        XEN_EROFS EROFS = 30, "Read-only.";
        XEN_EMLINK EMLINK = 31, "Too many links.";
        XEN_EDOM EDOM = 33, "Outside the domain of the function.";
        XEN_ERANGE ERANGE = 34, "Outside the range of results.";
        XEN_EDEADLK EDEADLK = 35, "Would wait for itself.";
        XEN_ENAMETOOLONG ENAMETOOLONG = 36, "A name is too long.";
        XEN_ENOLCK ENOLCK = 37, "No locks are left.";
        XEN_ENOSYS ENOSYS = 38, "There is no such call.";
        XEN_ENOTEMPTY ENOTEMPTY = 39, "Not empty.";
        XEN_ENODATA ENODATA = 61, "There is none of it.";
        XEN_ETIME ETIME = 62, "The time is up.";
        XEN_EBADMSG EBADMSG = 74, "Not a message.";
        XEN_EOVERFLOW EOVERFLOW = 75, "Too large for its type.";
        XEN_EILSEQ EILSEQ = 84, "Not a sequence that is allowed.";
        XEN_ENOTSOCK ENOTSOCK = 88, "Not a socket.";
        XEN_EMSGSIZE EMSGSIZE = 90, "A message is too long.";
        XEN_EOPNOTSUPP EOPNOTSUPP = 95, "Known, but not to be had here.";
        XEN_EADDRINUSE EADDRINUSE = 98, "An address is in use.";
        XEN_EADDRNOTAVAIL EADDRNOTAVAIL = 99, "An address cannot be had.";
        XEN_ENOBUFS ENOBUFS = 105, "A buffer is too small.";
        XEN_EISCONN EISCONN = 106, "Connected.";
        XEN_ENOTCONN ENOTCONN = 107, "Not connected.";
        XEN_ETIMEDOUT ETIMEDOUT = 110, "It took too long.";
        XEN_ECONNREFUSED ECONNREFUSED = 111, "A connection was refused.";
    }
}

impl Errno {
    /// Returns what the guest finds in x0: the number, negated, in 64 bits.
    pub const fn to_register(self) -> u64 {
        (self as i64).wrapping_neg() as u64
    }

    /// Returns the number negated in 32 bits, as arrays of errors hold it.
    pub const fn to_word(self) -> i32 {
        -(self as i64 as i32)
    }
}
