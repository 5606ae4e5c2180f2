defmodule Mapp.MixProject do
  use Mix.Project

  def project do
    [
      app: :mapp,
      version: System.get_env("VSN", "1.0.0"),
      elixir: "~> 1.14",
      start_permanent: true,
      deps: [],
      releases: [mapp: [include_erts: true, include_executables_for: [:unix], strip_beams: true]]
    ]
  end

  def application do
    [mod: {Mapp.Application, []}, extra_applications: [:logger, :sasl]]
  end
end
