;; Wants to know the time. Whatever imports anything to call is refused by name.
(component
  (import "wasi:clocks/wall-clock@0.2.0"
    (instance (export "seconds" (func (result u64))))))
