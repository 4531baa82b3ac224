;; A core module: the output of a compiler, before it is made a component.
(module)
