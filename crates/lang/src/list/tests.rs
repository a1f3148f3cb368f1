//! Listings of a target made by hand.
