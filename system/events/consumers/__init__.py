"""The six consumers, a module each: its effect and its process. What they share is in `consuming`."""
