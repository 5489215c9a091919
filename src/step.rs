//! The steps: a closed enum, one variant per kind, one file per kind.
