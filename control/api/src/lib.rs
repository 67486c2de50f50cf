//! What dpctl and warrend say to each other.
