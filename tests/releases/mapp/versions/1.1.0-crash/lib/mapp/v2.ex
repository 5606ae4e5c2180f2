defmodule Mapp.V2 do
  # The state of Mapp.Server since 1.1.0: {:v2, count, bumps_since_upgrade}; here a bomb ticks after the migration.
  def show({:v2, n, _}), do: "v2 #{n}"

  def migrate({:v1, n}) do
    Process.send_after(self(), {:demo, :crash}, String.to_integer(System.get_env("DEMO_SOAK_MS", "2000")))
    {:v2, n, 0}
  end

  def ready, do: true
end
