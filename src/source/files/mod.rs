//! Files and folders, with all their metadata.
