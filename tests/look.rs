//! Looking into images and comparing them: `ls`, `cat`, `cp`, `du` and `diff`, as a person types them.

#[path = "look/diff.rs"]
mod diff;
#[path = "look/hostile.rs"]
mod hostile;
#[path = "look/images.rs"]
mod images;
#[path = "look/inside.rs"]
mod inside;
