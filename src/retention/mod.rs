//! What is kept, and why.
