//! How items are declared: one table for each header yields types, codecs, assertions and what tests compare.

/// A value with a fixed place in little-endian bytes.
pub trait Field: Copy + Sized {
    /// How many bytes it takes.
    const SIZE: usize;

    /// Returns the value that begins `bytes`. What lies beyond their end counts as zeros, so that a shorter structure of an older
    /// interface reads as the newer one with its additions unset.
    fn read(bytes: &[u8]) -> Self;

    /// Stores the value at the beginning of `bytes`, as far as they go. Bytes of padding are left alone.
    fn write(self, bytes: &mut [u8]);
}

/// A field that says how large a buffer it needs, so that generic code can copy it from and to a guest.
pub trait Plain: Field {
    /// An array of [`Field::SIZE`] bytes.
    type Bytes: AsRef<[u8]> + AsMut<[u8]>;

    /// The array, cleared: padding that a guest gets to see is zero.
    const CLEAR: Self::Bytes;

    /// Returns the value as bytes, with padding cleared.
    fn to_bytes(self) -> Self::Bytes {
        let mut bytes = Self::CLEAR;
        self.write(bytes.as_mut());
        bytes
    }
}

/// Returns what follows the first `at` of `bytes`; nothing if there are fewer.
pub(crate) fn after(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// As [`after`], to write to.
pub(crate) fn after_mut(bytes: &mut [u8], at: usize) -> &mut [u8] {
    bytes.get_mut(at..).unwrap_or_default()
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(
            impl Field for $type {
                const SIZE: usize = size_of::<$type>();

                #[inline]
                fn read(bytes: &[u8]) -> Self {
                    match bytes.first_chunk() {
                        Some(whole) => Self::from_le_bytes(*whole),
                        None => {
                            let mut part = [0; size_of::<$type>()];
                            part.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                            Self::from_le_bytes(part)
                        }
                    }
                }

                #[inline]
                fn write(self, bytes: &mut [u8]) {
                    let value = self.to_le_bytes();
                    match bytes.first_chunk_mut() {
                        Some(whole) => *whole = value,
                        None => bytes.iter_mut().zip(value).for_each(|(to, from)| *to = from),
                    }
                }
            }

            impl Plain for $type {
                type Bytes = [u8; size_of::<$type>()];
                const CLEAR: Self::Bytes = [0; size_of::<$type>()];
            }
        )*
    };
}

integers! { u8 u16 u32 u64 i8 i16 i32 i64 }

impl<T: Field, const N: usize> Field for [T; N] {
    const SIZE: usize = T::SIZE * N;

    fn read(bytes: &[u8]) -> Self {
        core::array::from_fn(|index| T::read(after(bytes, index * T::SIZE)))
    }

    fn write(self, bytes: &mut [u8]) {
        for (index, value) in self.into_iter().enumerate() {
            value.write(after_mut(bytes, index * T::SIZE));
        }
    }
}

/// `XEN_GUEST_HANDLE`: a virtual address of the caller, in the translation it has while it calls. Bytes; not checked in any way.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle(pub u64);

impl Handle {
    /// Says whether the guest passed no pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl Field for Handle {
    const SIZE: usize = 8;

    fn read(bytes: &[u8]) -> Self {
        Self(u64::read(bytes))
    }

    fn write(self, bytes: &mut [u8]) {
        self.0.write(bytes);
    }
}

impl Plain for Handle {
    type Bytes = [u8; 8];
    const CLEAR: Self::Bytes = [0; 8];
}

/// The items of one header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its path under `xen/`.
    pub name: &'static str,
    /// Structures in it.
    pub structures: &'static [Structure],
    /// Constants and operations in it, in several lists.
    pub constants: &'static [&'static [Constant]],
}

/// A structure and where its members are.
#[derive(Clone, Copy, Debug)]
pub struct Structure {
    /// Its type in C.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Its members, in order.
    pub members: &'static [Member],
}

/// A member of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// What C calls it; with a `~` before it if this is the first of several that are one array here.
    pub name: &'static str,
    /// Bytes from the structure's beginning.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// A number with a name.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// What C calls it.
    pub name: &'static str,
    /// Its value.
    pub value: i64,
}

/// Declares structures: `"C type" Name size { offset field: type, "doc"; ... }`, with `("C member")` after a field that C calls otherwise.
macro_rules! structures {
    ($($(#[$meta:meta])* $c:literal $name:ident $size:literal {
        $($offset:literal $field:ident $(($member:literal))?: $type:ty, $doc:literal;)*
    })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                $(#[doc = $doc] pub $field: $type,)*
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $(
                    assert!(core::mem::offset_of!($name, $field) == $offset);
                    assert!(<$type as $crate::Field>::SIZE == size_of::<$type>());
                )*
            };

            impl $crate::Field for $name {
                const SIZE: usize = $size;

                #[inline]
                fn read(bytes: &[u8]) -> Self {
                    Self { $($field: <$type as $crate::Field>::read($crate::item::after(bytes, $offset)),)* }
                }

                #[inline]
                fn write(self, bytes: &mut [u8]) {
                    $($crate::Field::write(self.$field, $crate::item::after_mut(bytes, $offset));)*
                }
            }

            impl $crate::Plain for $name {
                type Bytes = [u8; $size];
                const CLEAR: Self::Bytes = [0; $size];
            }

            /// All zeros.
            impl Default for $name {
                fn default() -> Self {
                    <Self as $crate::Field>::read(&[])
                }
            }
        )*

        /// The structures of this header.
        pub const STRUCTURES: &[$crate::Structure] = &[$($crate::Structure {
            name: $c,
            size: $size,
            members: &[$($crate::Member {
                name: structures!(@name $field $($member)?),
                offset: $offset,
                size: size_of::<$type>(),
            }),*],
        }),*];
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $member:literal) => { $member };
}

/// Declares constants: `NAME: type = value, "doc";`.
macro_rules! constants {
    ($($name:ident: $type:ty = $value:expr, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: $type = $value;)*

        /// The constants of this header.
        pub const CONSTANTS: &[$crate::Constant] =
            &[$($crate::Constant { name: stringify!($name), value: $name as i64 }),*];
    };
}

/// Declares an enumeration of numbers that a guest may say: `C_NAME Variant = number, "doc";`.
macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident: $type:ty { $($c:ident $variant:ident = $value:literal, $doc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($type)]
        pub enum $name {
            $(#[doc = $doc] $variant = $value,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Their names and values.
            pub const NUMBERS: &[$crate::Constant] = &[$($crate::Constant { name: stringify!($c), value: $value }),*];

            /// Returns the one with this number, if there is one.
            pub const fn from_number(number: u64) -> Option<Self> {
                match number as i64 {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns its number.
            pub const fn number(self) -> $type {
                self as $type
            }

            /// Returns the name that the headers have for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($c),)*
                }
            }
        }
    };
}
