;; Imports a clock. A plugin that imports any function is refused.
(component
  (import "wasi:clocks/wall-clock@0.2.0"
    (instance (export "seconds" (func (result u64))))))
