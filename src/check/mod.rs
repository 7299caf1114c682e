//! Is all of it there, and is it what it was.
