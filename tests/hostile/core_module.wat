;; A core module: what a compiler makes before it is wrapped as a component.
(module)
